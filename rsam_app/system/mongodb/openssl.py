"""Shared libraries of an older Debian or Ubuntu for one program, without root.

MongoDB 6.0 was built against OpenSSL 1.1, which current systems no longer have. Debian 11 and Ubuntu 20.04 have it, on
the same mirrors and signed with keys that the machine's package manager already trusts. So `apt-get` downloads and
verifies the packages with separate state folders, and `dpkg` unpacks them into a folder. Nothing is installed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path

from rsam_app.system.errors import UserError

PACKAGES = {  # shared library: its package, in both releases
    "libssl.so.1.1": "libssl1.1",
    "libcrypto.so.1.1": "libssl1.1",
    "libcurl.so.4": "libcurl4",
    "liblzma.so.5": "liblzma5",
}
RELEASES = {"debian": "bullseye", "ubuntu": "focal"}  # the last release of each with OpenSSL 1.1
REMEDY = "Install OpenSSL 1.1 or MongoDB 6 or newer, or set FIFTYONE_DATABASE_URI to a running MongoDB."


@dataclass(frozen=True)
class Source:
    """A package archive in the machine's sources, and the keyring that verifies it."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str | None

    def line(self, suite: str) -> str:
        """Return the line of a sources list for another suite of the same archive."""
        options = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {options}{self.uri} {suite} main\n"


def fetch_libraries(names: list[str], target: Path) -> None:
    """Download the shared libraries `names`, and those that they need, into the folder `target`.

    Raises `UserError` if the machine has no `apt-get`, its mirror has no older release, or a signature is wrong.
    """
    unknown = sorted(set(names) - set(PACKAGES))
    if unknown or not names:
        raise UserError(f"MongoDB does not start here (missing: {', '.join(unknown) or 'unknown'}).\n{REMEDY}")
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}  # an unusual system without this file, refused below
    distribution = "ubuntu" if "UBUNTU_CODENAME" in system else system.get("ID", "")
    if distribution not in RELEASES or not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise UserError(f"MongoDB needs {', '.join(names)}, and this system has no package with it.\n{REMEDY}")
    codename = system.get("UBUNTU_CODENAME") or system.get("VERSION_CODENAME", "")
    reasons = []
    for source in archives(apt_sources(), codename):
        with tempfile.TemporaryDirectory(prefix="rsam-apt-") as scratch:
            reason = _download(source.line(RELEASES[distribution]), names, Path(scratch))
            if reason is None:
                _unpack(Path(scratch) / "archives", target)
                return
        reasons.append(reason)
    raise UserError(
        f"MongoDB needs {', '.join(names)}; the download from the machine's package mirror failed: "
        f"{(reasons or ['apt has no usable source'])[0]}\n{REMEDY}"
    )


def apt_sources(etc: Path = Path("/etc/apt")) -> list[Source]:
    """Return the enabled binary archives of the machine's sources, from one-line (`.list`) and deb822 (`.sources`)
    files."""
    sources: list[Source] = []
    for path in (etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))):
        if path.suffix in (".list", ".sources") and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            sources += _deb822(text) if path.suffix == ".sources" else _one_line(text)
    return sources


def archives(sources: list[Source], codename: str) -> list[Source]:
    """Return the sources that may be the distribution's own archive, the most likely ones first.

    Its suite is the machine's release (third parties use other names), it has the component `main`, and most mirrors
    have the distribution's name in the path.
    """
    suites = (codename, "stable", "testing", "unstable")
    candidates = [s for s in sources if s.suite in suites and "main" in s.components]
    return sorted(candidates, key=lambda s: not any(name in s.uri.split("/") for name in RELEASES))


def _one_line(text: str) -> list[Source]:
    sources = []
    for line in text.splitlines():
        rest = line.partition("#")[0].strip()
        if not rest.startswith(("deb ", "deb\t")):
            continue
        rest, options = rest[3:].strip(), ""
        if rest.startswith("["):
            options, _, rest = rest[1:].partition("]")
        uri, suite, *components = [*rest.split(), ""]
        signed_by = next((o.partition("=")[2] for o in options.split() if o.startswith("signed-by=")), None)
        sources.append(Source(uri, suite, tuple(components), signed_by))
    return sources


def _deb822(text: str) -> list[Source]:
    sources = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in "\n".join(lines).split("\n\n"):
        fields = message_from_string(stanza.strip())  # the syntax of mail headers
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
            continue
        keyring = fields.get("signed-by", "").strip()
        signed_by = keyring if keyring.startswith("/") and " " not in keyring else None  # else the key itself
        components = tuple(fields.get("components", "").split())
        uris, suites = fields.get("uris", "").split(), fields.get("suites", "").split()
        sources += [Source(uri, suite, components, signed_by) for uri in uris for suite in suites]
    return sources


def _download(source_line: str, names: list[str], scratch: Path) -> str | None:
    """Download and verify the packages into `scratch/archives`; return the reason if that fails."""
    for folder in ("lists/partial", "archives/partial", "empty"):
        (scratch / folder).mkdir(parents=True)
    (scratch / "sources.list").write_text(source_line, encoding="utf-8")
    settings = {
        "Dir::Etc::SourceList": scratch / "sources.list",
        "Dir::Etc::SourceParts": scratch / "empty",
        "Dir::Etc::PreferencesParts": scratch / "empty",
        "Dir::Etc::Preferences": scratch / "none",
        "Dir::State::Lists": scratch / "lists",
        "Dir::Cache": scratch,
        "Dir::Cache::Archives": scratch / "archives",
        "Debug::NoLocking": "true",  # the locks protect the system's state, which is not changed
        "APT::Sandbox::User": "root",  # the download user has no access to this folder
        "APT::Get::AllowUnauthenticated": "false",
        "Acquire::AllowInsecureRepositories": "false",
        "Acquire::Languages": "none",
    }
    options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    packages = sorted({PACKAGES[name] for name in names})
    install = ["install", "--download-only", "--yes", "--no-remove", "--no-install-recommends"]
    for arguments in (["update"], [*install, *packages]):
        command = ["apt-get", "-qq", *options, *arguments]
        environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
        run = subprocess.run(
            command, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        if run.returncode:
            complaints = [line for line in run.stderr.splitlines() if line.startswith("E:")]
            return (complaints or run.stderr.splitlines() or ["apt-get failed"])[0]
    return None


def _unpack(archives_folder: Path, target: Path) -> None:
    """Copy the shared libraries of all downloaded packages into one folder."""
    target.mkdir(parents=True)
    for package in sorted(archives_folder.glob("*.deb")):
        if package.name.startswith(("libc6_", "libgcc-s1_")):  # an older C library does not fit the machine's loader
            continue
        tree = archives_folder / package.stem
        subprocess.run(["dpkg", "-x", str(package), str(tree)], capture_output=True, check=True)
        for library in tree.rglob("lib*.so*"):
            if library.parent.name.endswith("-linux-gnu"):
                shutil.copy(library, target / library.name)
