import re

import pytest

NAMES = (
    "requirements",
    "requirements-dev",
    "requirements-tools",
    "requirements-docs",
    "requirements-cuda",
)
LOCKS = [f"{name}.txt" for name in NAMES]
# in two parts, so that this file does not name them either
HOSTS = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "npmjs" + ".org",
    "deb." + "debian.org",
    "--index" + "-url",
    "--extra-index" + "-url",
    "--find" + "-links",
]


def pins(text):
    """name -> (version, number of hashes) of a lock; what is no pin stands under its own text."""
    found = {}
    for entry in re.split(r"\n(?=\S)", text.strip()):
        lines = [line for line in entry.splitlines() if not line.lstrip().startswith("#")]
        pin = re.fullmatch(r"([\w.-]+)(?:\[\w+\])?==(\S+) \\", lines[0]) if lines else None
        hashes = [line for line in lines[1:] if re.search(r"--hash=sha256:[0-9a-f]{64}", line)]
        if lines:
            found[pin[1] if pin else lines[0]] = (pin[2] if pin else None, len(hashes))
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_is_pinned_with_hashes(root, lock):
    found = pins((root / lock).read_text())
    assert found
    assert not {name for name, (version, hashes) in found.items() if not (version and hashes)}


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_holds_what_was_asked_for(root, lock):
    asked = (root / lock).with_suffix(".in").read_text().splitlines()
    names = {re.split(r"[=<>\[; ]", line)[0] for line in asked if line[:1].isalpha()}
    normal = {re.sub(r"[-_.]+", "-", name).lower() for name in names}
    assert normal <= set(pins((root / lock).read_text()))


def test_tests_run_on_the_versions_that_users_get(root):
    users = pins((root / "requirements.txt").read_text())
    tests = pins((root / "requirements-dev.txt").read_text())
    shared = users.keys() & tests.keys()
    assert {"numpy", "pillow"} <= shared
    assert {name: users[name] for name in shared} == {name: tests[name] for name in shared}


def test_no_file_names_a_package_host(root, project_files):
    named = {
        f"{file}: {host}"
        for file in project_files
        for host in HOSTS
        if host.encode() in (root / file).read_bytes()
    }
    assert not named
