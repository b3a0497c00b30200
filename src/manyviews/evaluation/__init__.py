"""What an encoder is worth: with labels, with few, and with none. Evaluators know nothing of methods."""

from manyviews.evaluation.baselines import RawPixels
from manyviews.evaluation.crops import dense, multi_crop, multi_scale, single, ten_crop
from manyviews.evaluation.evaluate import PROTOCOLS, evaluate
from manyviews.evaluation.features import Embedder, EncoderEmbedder, Features, embed_all
from manyviews.evaluation.finetune import FineTuned, finetune
from manyviews.evaluation.frozen import NotFrozen, frozen
from manyviews.evaluation.knn import knn, neighbours
from manyviews.evaluation.labelfree import LabelFree, labelfree
from manyviews.evaluation.labels import label_subset
from manyviews.evaluation.layers import LayerProbes, probe_layers
from manyviews.evaluation.linear import LinearProbe, SgdProbe, probe_lbfgs, probe_sgd
from manyviews.evaluation.scores import MeanStd, Scores, mean_std, scores
from manyviews.evaluation.scratch import FromScratch, scratch
from manyviews.evaluation.segmentation import Segmented, segment
from manyviews.evaluation.sets import held_apart, tells_apart
from manyviews.evaluation.verdict import Verdict, verdict

__all__ = [
    "PROTOCOLS",
    "Embedder",
    "EncoderEmbedder",
    "Features",
    "FineTuned",
    "FromScratch",
    "LabelFree",
    "LayerProbes",
    "LinearProbe",
    "MeanStd",
    "NotFrozen",
    "RawPixels",
    "Scores",
    "Segmented",
    "SgdProbe",
    "Verdict",
    "dense",
    "embed_all",
    "evaluate",
    "finetune",
    "frozen",
    "held_apart",
    "knn",
    "label_subset",
    "labelfree",
    "mean_std",
    "multi_crop",
    "multi_scale",
    "neighbours",
    "probe_layers",
    "probe_lbfgs",
    "probe_sgd",
    "scores",
    "scratch",
    "segment",
    "single",
    "tells_apart",
    "ten_crop",
    "verdict",
]
