"""Mutates valid files and gives them to their parsers: `make fuzz MUTATIONS=2000`.

A parser may succeed or raise `UserError`, in `SECONDS` and `LARGEST_GROWTH` of memory. Everything else is a finding: it
is printed with its seed, and `--seed SEED` repeats it. The mutations run in a child process, so that a crash in
compiled code is a finding, too.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from faults.mutations import mutated
from faults.parsers import Parser, make_parsers

from rsam_app.system.errors import UserError

SECONDS = 10
LARGEST_GROWTH = 1 << 30
"""Bytes: the largest picture that Pillow decodes has half of it."""
REFUSED, READ, FOUND = "refused", "read", "found"


class _SlowError(Exception):
    """A parser took longer than `SECONDS`."""


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise _SlowError


def peak() -> int:
    """The largest memory that this process had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def attempt(parser: Parser, valid: bytes, seed: str) -> tuple[str, str]:
    """Give a parser one mutation of its `valid` file, which is restored; return `REFUSED`, `READ` or `FOUND`, and what
    was found."""
    parser.file.write_bytes(mutated(valid, parser.kind, seed))
    before, earlier = peak(), signal.signal(signal.SIGALRM, _too_slow)
    signal.alarm(SECONDS)
    try:
        parser.read(parser.file)
        outcome = READ, ""
    except UserError as error:
        lines = str(error).count("\n") + 1
        outcome = (REFUSED, "") if lines <= 3 else (FOUND, f"a message of {lines} lines")
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        outcome = FOUND, f"{type(error).__name__}: {str(error)[:200]} ({Path(place.filename).name}:{place.lineno})"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)
        parser.file.write_bytes(valid)
    grown = peak() - before
    return (FOUND, f"{grown >> 20} MiB of memory") if grown > LARGEST_GROWTH else outcome


def fuzz(parsers: Sequence[Parser], mutations: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Give the parsers in turn so many mutations in this process; return how many were read and refused, and what was
    found."""
    valid = [parser.file.read_bytes() for parser in parsers]
    counts, findings = Counter[str](), []
    for number in range(mutations):
        place = number % len(parsers)
        outcome, found = attempt(parsers[place], valid[place], f"{seed}.{number}")
        counts[outcome] += 1
        if found:
            findings.append(f"{parsers[place].name}, seed {seed}.{number}: {found}")
    return counts, findings


def fuzz_in_children(work: Path, only: Sequence[str], mutations: int, seed: int) -> tuple[Counter[str], list[str]]:
    """As `fuzz`, in child processes: after a crash, the next one goes on behind the mutation that caused it."""
    counts, findings, number, name = Counter[str](), [], 0, ""
    while number < mutations:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            _work(work / str(number), only, range(number, mutations), seed, writer)
        os.close(writer)
        with os.fdopen(reader) as lines:
            for line in lines:
                outcome, _, text = line.rstrip("\n").partition("\t")
                if outcome == "begins":
                    name = text
                    continue
                findings += _said(f"{name}, seed {seed}.{number}: {text}") if text else []
                counts[outcome] += 1
                number += 1
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if number < mutations:
            findings += _said(f"{name}, seed {seed}.{number}: the process ended with {code}")
            counts[FOUND] += 1
            number += 1
    return counts, findings


def _said(finding: str) -> list[str]:
    print(finding, flush=True)
    return [finding]


def _work(folder: Path, only: Sequence[str], numbers: range, seed: int, writer: int) -> None:
    """Report each mutation's parser and outcome in a line each; does not return. A timer that Python does not handle
    ends compiled code that hangs."""
    parsers = chosen(folder, only)
    valid = [parser.file.read_bytes() for parser in parsers]
    for number in numbers:
        signal.setitimer(signal.ITIMER_VIRTUAL, 3 * SECONDS)
        place = number % len(parsers)
        os.write(writer, f"begins\t{parsers[place].name}\n".encode())
        outcome, found = attempt(parsers[place], valid[place], f"{seed}.{number}")
        os.write(writer, f"{outcome}\t{' '.join(found.split())}\n".encode(errors="replace"))
    os._exit(0)


def chosen(folder: Path, only: Sequence[str]) -> list[Parser]:
    """The parsers with these names; all without any."""
    return [parser for parser in make_parsers(folder) if not only or parser.name in only]


def main() -> None:
    """Print what was found and how many mutations were read or refused; exit code 1 if anything was found."""
    argument_parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    argument_parser.add_argument("--mutations", type=int, default=2000)
    argument_parser.add_argument("--seed", default="0", help="a number, or that of a finding, such as 0.17")
    argument_parser.add_argument("--only", nargs="*", default=(), help="names of parsers")
    given = argument_parser.parse_args()
    seed, _, number = given.seed.partition(".")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        os.environ["XDG_CACHE_HOME"] = f"{work}/cache"
        if number:
            parsers = chosen(Path(work), given.only)
            parser = parsers[int(number) % len(parsers)]
            parser.file.write_bytes(mutated(parser.file.read_bytes(), parser.kind, given.seed))
            parser.read(parser.file)
            sys.exit()
        counts, findings = fuzz_in_children(Path(work), given.only, given.mutations, int(seed))
    total, seconds = sum(counts.values()), time.monotonic() - begun
    print(f"{total} mutations in {seconds:.0f} s: {dict(counts)}")
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
