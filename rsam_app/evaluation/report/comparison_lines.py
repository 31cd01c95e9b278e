"""A comparison of two runs in words: the rows of its table, for page and terminal, and its findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rsam_app.evaluation.report.headlines import BOXES, percent

Form = Literal["percent", "number"]

SIGNIFICANT = 0.05

TRUTHS = {**BOXES, "targets": "the reviewer's targets"}
"""The truth in words, by source."""


@dataclass(frozen=True)
class Row:
    """A figure of both runs as text."""

    name: str
    first: str
    second: str
    difference: str
    interval: str = ""


def share(value: float, form: Form = "percent") -> str:
    """A figure as percent, or as a number with three decimals."""
    return percent(value) if form == "percent" else f"{value:.3f}"


def signed(value: float, form: Form = "percent") -> str:
    """A difference with its sign: in points, or as a number with three decimals."""
    return f"{100 * value:+.1f}" if form == "percent" else f"{value:+.3f}"


def interval_text(pair: Mapping[str, Any], form: Form = "percent") -> str:
    """The interval of a difference; empty without one."""
    return " to ".join(signed(edge, form) for edge in pair["interval"] or [])


def table_rows(figures: Mapping[str, Any]) -> list[Row]:
    """The rows of the table; a figure that is missing has none."""
    rows = [
        _row("Top-1", figures["top1"], "percent"),
        _row("Macro top-1", figures["macro_top1"], "percent"),
        _row("Calibration error", figures["ece"], "percent"),
        _row("NLL, nats", figures["nll"], "number"),
        _worst_row("Worst class", figures["worst_class"], "recall"),
    ]
    if figures["worst_group"]:
        rows.append(_worst_row("Worst group", figures["worst_group"], "top1"))
    if figures["attention"]:
        rows.append(_row("Mean IoU with the truth", figures["attention"], "number"))
    return rows


def _row(name: str, pair: Mapping[str, Any], form: Form) -> Row:
    interval = interval_text(pair, form) if "interval" in pair else ""
    first, second = (share(pair[run], form) for run in ("first", "second"))
    return Row(name, first, second, signed(pair["difference"], form), interval)


def _worst_row(name: str, pair: Mapping[str, Any], key: str) -> Row:
    first, second = (share(pair[run][key]) for run in ("first", "second"))
    return Row(name, first, second, signed(pair["difference"]))


def truth_text(attention: Mapping[str, Any]) -> str:
    """The truth that the attention was measured with, and on how many images."""
    parts = [f"{TRUTHS[source]} of {n:,}" for source, n in attention["boxes_from"].items()]
    return " and ".join(parts) + " images"


def findings(figures: Mapping[str, Any], names: Mapping[str, str]) -> list[tuple[str, str]]:
    """Sentences that interpret a comparison, each with its tone: `good`, `bad` or `plain`."""
    sentences = [_accuracy(figures), _attention(figures), *_limit(figures)]
    if figures["agreement"] is not None:
        text = f"The upright boxes of the two runs' rectangles have a mean IoU of {figures['agreement']:.3f}."
        sentences.append(("plain", text))
    sentences += [("plain", text) for text in _worst(figures, names)]
    if figures["attention"] and "targets" in figures["attention"]["boxes_from"]:
        text = "Targets that were accepted from a run's own rectangles favour that run."
        sentences.append(("plain", text))
    return [*sentences, *(("plain", text) for text in _shared(figures, names))]


def _accuracy(figures: Mapping[str, Any]) -> tuple[str, str]:
    pair, test = figures["top1"], figures["mcnemar"]
    tone = ("good" if pair["difference"] > 0 else "bad") if test["p"] < SIGNIFICANT else "plain"
    doubt = "" if test["p"] < SIGNIFICANT else ", which may be chance"
    counts = f"{test['fixed']:,} fixed, {test['broken']:,} broken"
    text = f"Top-1 changed by {signed(pair['difference'])} points{_in_interval(pair, 'percent')}: {counts}{doubt}"
    return tone, f"{text} (p = {test['p']:.2g} by McNemar's exact test)."


def _attention(figures: Mapping[str, Any]) -> tuple[str, str]:
    pair = figures["attention"]
    if pair is None:
        return "plain", f"Attention is not compared: {figures['absent']['attention']}."
    low, high = pair["interval"] or (-1.0, 1.0)
    tone = "bad" if high < 0 else "good" if low > 0 else "plain"
    text = f"The rectangles' mean IoU with {truth_text(pair)} changed by {signed(pair['difference'], 'number')}"
    moves = [len(figures["changed"][f"moved {way} the object"]) for way in ("off", "onto")]
    return tone, f"{text}{_in_interval(pair, 'number')}; {moves[0]:,} moved off the object, {moves[1]:,} onto it."


def _in_interval(pair: Mapping[str, Any], form: Form) -> str:
    return f" (95\N{NO-BREAK SPACE}% interval {interval_text(pair, form)})" if pair["interval"] else ""


def _limit(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    limit = figures["attention_limit"]
    return [] if limit is None else [("bad" if limit["exceeded"] else "good", f"{limit_text(figures)}.")]


def limit_text(figures: Mapping[str, Any]) -> str:
    """Whether attention fell by more than the limit, in a sentence without a full stop."""
    pair, limit = figures["attention"], figures["attention_limit"]
    outcome = "Attention moved off the objects" if limit["exceeded"] else "Attention did not move off the objects"
    relation = "more than" if limit["exceeded"] else "within"
    return (
        f"{outcome}: mean IoU with {truth_text(pair)} changed by {signed(pair['difference'], 'number')}"
        f"{_in_interval(pair, 'number')}, from {pair['first']:.3f} to {pair['second']:.3f}, {relation} the allowed drop"
        f" of {limit['max_drop']:g}"
    )


def _worst(figures: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    def of(key: str, run: str) -> str:
        entry = figures[key][run]
        name = entry["class"] if key == "worst_class" else f"{entry['label']} with {entry['group']}"
        return f"{name} in {names[run]} ({entry['n']:,} images)"

    lines = [f"Worst class: {of('worst_class', 'first')}, {of('worst_class', 'second')}."]
    if figures["worst_group"]:
        lines.append(f"Worst group: {of('worst_group', 'first')}, {of('worst_group', 'second')}.")
    return lines


def _shared(figures: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    """What the comparison leaves out, and what the two runs were measured with."""
    lines = []
    for run in ("first", "second"):
        if only := figures[run]["only_here"]:
            lines.append(f"Images that only {names[run]} evaluated, left out: {only:,}.")
    if figures["removed"]:
        lines.append(f"Images that the dataset no longer has, left out: {figures['removed']:,}.")
    for run in ("first", "second"):
        if relabelled := figures[run]["relabelled"]:
            lines.append(
                f"Labels that changed since {names[run]} was evaluated (the present ones count): {relabelled:,}."
            )
    if figures["split"] == "val":
        lines.append("These are the validation images, which also chose each run's best epoch.")
    return lines
