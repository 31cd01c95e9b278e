"""What 8-bit integers bring to an exported model, and what they cost it.

    RSAM_DATA=data python benchmarks/int8_inference.py RUN [RUN …]

Each run's model is exported to ONNX, and that file quantised by ONNX Runtime: convolutions, activations and sums, per
channel, in ranges that 64 training images give. What follows the last convolution, the geometry of the rectangle and
the classifier, stays in float32. Both files then classify every second test image, in turn, on one core. Written to
`results/int8_inference.json`: how many times as fast the 8-bit file is, both top-1, and the share of images that get
the same class.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from measuring.surroundings import where
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from rsam_app.data.loader import Views
from rsam_app.data.records import Record
from rsam_app.model.export import export_model, format_of
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.system.progress import Reporter

RESULTS = Path(__file__).parent / "results" / "int8_inference.json"
OPERATIONS = ("Conv", "Relu", "Clip", "Add")
RANGES, BATCH, EVERY = 64, 16, 2


class Ranges(CalibrationDataReader):  # type: ignore[misc]
    """Training images, batch by batch, from which the ranges of activations are taken."""

    def __init__(self, batches: Iterator[np.ndarray]) -> None:
        self.batches = batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        images = next(self.batches, None)
        return None if images is None else {"images": images}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    report: dict[str, Any] = {}
    for path in parser.parse_args().runs:
        run = RunFolder(path)
        with tempfile.TemporaryDirectory() as folder:
            report[Path(run.load_pipeline().dataset).stem] = measure(run, Path(folder))
        print(json.dumps(report), flush=True)
    RESULTS.write_text(json.dumps({**report, "environment": where()}, indent=2) + "\n", encoding="utf-8")


def measure(run: RunFolder, folder: Path) -> dict[str, Any]:
    """Time and top-1 of a run's model in float32 and in 8 bits."""
    exact, small = folder / "model.onnx", folder / "int8.onnx"
    side = export_model(run.model, exact, format_of(exact, None)).side
    dataset = Job.of_run(run.path, [], Reporter()).original
    training, test = dataset.split("train"), dataset.split("test")[::EVERY]
    nodes = onnx.load(exact).graph.node
    rest = 1 + max(i for i, node in enumerate(nodes) if node.op_type == "Conv")
    quantize_static(
        exact, small, Ranges(batches(training[:: len(training) // RANGES], side)), quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(OPERATIONS), nodes_to_exclude=[node.name for node in nodes[rest:]],
        per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    files = {
        name: onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        for name, file in (("float32", exact), ("int8", small))
    }
    truth = np.array([dataset.class_index[record.label] for record in test])
    answers: dict[str, list[int]] = {name: [] for name in files}
    seconds: dict[str, list[float]] = {name: [] for name in files}
    for images in batches(test, side):
        for name, session in files.items():
            begun = time.perf_counter()
            logits = session.run(["logits"], {"images": images})[0]
            seconds[name].append(time.perf_counter() - begun)
            answers[name] += logits.argmax(axis=1).tolist()
    speed = statistics.median(seconds["float32"]) / statistics.median(seconds["int8"])
    top1 = {name: round(float((np.array(given) == truth).mean()), 4) for name, given in answers.items()}
    same = float((np.array(answers["float32"]) == np.array(answers["int8"])).mean())
    return {"times_as_fast": round(speed, 2), "top1": top1, "same_class": round(same, 4), "images": len(test)}


def batches(records: Sequence[Record], side: int) -> Iterator[np.ndarray]:
    """float32 inputs `(B, 3, S, S)` in [0, 1]."""
    views = Views(records, dict.fromkeys((record.label for record in records), 0), side)
    for begin in range(0, len(records), BATCH):
        draws = [(0, index) for index in range(begin, min(begin + BATCH, len(records)))]
        yield np.ascontiguousarray(views.__getitems__(draws)["image"].numpy(), dtype=np.float32) / 255


if __name__ == "__main__":
    main()
