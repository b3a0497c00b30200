"""What several papers do to an image in the same way.

Papers   Colours: Chen et al. 2020 (arXiv:2002.05709), appendix A. Two views that differ: Grill et al. 2020 (arXiv:2006.07733),
         table 6. Small crops: Caron et al. 2020 (arXiv:2006.09882), section 3.2.
"""

from dataclasses import replace

from manyviews.views.pipeline import Views
from manyviews.views.view import View


def colour_jitter(strength: float) -> tuple[float, float, float, float]:
    """By how much brightness, contrast, saturation and hue change, at a strength from 0 up to 1 and beyond."""
    return 0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength


def unlike_pair(
    size: int, min_area: float, blur: tuple[float, float], solarise: tuple[float, float]
) -> Views:
    """Two views of different probabilities to be blurred and solarised.

    Args:
        size: side in pixels.
        min_area: smallest crop, as a share of the image's area.
        blur, solarise: probability for the first and for the second view.
    """
    t, t_prime = (
        View(
            size=size,
            crop=(min_area, 1.0),
            jitter=(0.4, 0.4, 0.2, 0.1),
            grey=0.2,
            blur=p_blur,
            solarise=p_solarise,
        )
        for p_blur, p_solarise in zip(blur, solarise, strict=True)
    )
    return Views(t, t_prime)


def large_and_small(large: View, small: int, side: int, area: tuple[float, float]) -> Views:
    """Two large crops, then ``small`` ones of ``side`` pixels that show a share ``area`` of the image, else alike.

    They are blurred by the same kernel, as far as it fits: SwAV's code has one of 23 pixels for all of its crops.
    """
    kernel = min(large.blur_kernel, 2 * side - 1)
    local = [replace(large, size=side, crop=area, kernel=kernel)] * small if small else []
    return Views(large, large, *local)
