"""Object masks at the image's own edges, from coarse probabilities and the image's colours."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from rsam_app.hardware import available_cores
from rsam_app.training.objectness import largest_part

SIDE = 128
"""Of the square image that is cut: the rectangle needs no finer edge, and the cost is about 20 ms of one core."""

ITERATIONS = 3


def cut_out(images: np.ndarray, probabilities: np.ndarray, certain: tuple[float, float], seed: int) -> list[np.ndarray]:
    """Masks `(SIDE, SIDE)`, bool, of the objects in images `(N, SIDE, SIDE, 3)` uint8, one connected part each.

    GrabCut (Rother et al. 2004; OpenCV's) with the probabilities `(N, h, w)`, enlarged, as a start: below the first
    number of `certain` a pixel is background and above the second it is object; between, colours and edges decide. The
    answer does not depend on the number of threads.
    """
    with ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(lambda one, p: _cut_one(one, p, certain, seed), images, probabilities))


def _cut_one(image: np.ndarray, probability: np.ndarray, certain: tuple[float, float], seed: int) -> np.ndarray:
    enlarged = cv2.resize(probability.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    state = np.where(enlarged > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[enlarged < certain[0]] = cv2.GC_BGD
    state[enlarged > certain[1]] = cv2.GC_FGD
    start = (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)
    if not start.any() or start.all():
        return largest_part(start)  # one colour model would have nothing to learn from
    cv2.setRNGSeed(seed)  # of this thread, for the clusters its colour models start from
    colours = (np.zeros((1, 65)), np.zeros((1, 65)))
    cv2.grabCut(image, state, (0, 0, 1, 1), *colours, ITERATIONS, cv2.GC_INIT_WITH_MASK)  # the window is not read
    cut = (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)
    return largest_part(cut if cut.any() else start)
