"""Puts a package of PyPI on the path for a judge, with what it needs; kept under target/judges. No judge by itself."""
import os, pathlib, subprocess, sys, tempfile

# Test harnesses' word for: could not run here.
SKIPPED = 77
KEPT = pathlib.Path(__file__).resolve().parents[2] / "target" / "judges"
PIP_S_MAX = 300


def need(requirement):
    """Ends with SKIPPED, and pip's own reason, where pip is not there or its index cannot be reached."""
    folder = KEPT / f"{requirement}-{sys.implementation.cache_tag}"
    if not folder.is_dir():
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT) as work:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", f"{work}/new", requirement]
            done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_S_MAX)
            if done.returncode != 0:
                reason = (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
                print(f"skipped: {requirement} cannot be had: {reason}", file=sys.stderr)
                sys.exit(SKIPPED)
            try:
                os.rename(f"{work}/new", folder)
            except OSError:
                pass  # Another judge was faster.
    sys.path.insert(0, str(folder))
