"""Downloading original files with TFDS's download manager, after one quick look at the network."""

from __future__ import annotations

import pathlib
import threading
import urllib.parse

from phase_jax.data.sources import registered_files
from phase_jax.data.tfds_import import import_tfds
from phase_jax.types import InputError

PROBE_SECONDS = 10.0
"""How long a host may take to answer before it counts as unreachable."""

NO_HEAD_STATUS = (403, 405, 501)
"""What hosts answer that serve a file but not its header alone."""


def check_reachable(name: str) -> None:
    """Check that the first original file of `name` can be had, within seconds.

    TFDS itself would retry for more than three minutes.

    Raises:
      InputError: The host does not answer, or does not have the file.
    """
    url = next(iter(registered_files(name).values())).url
    answers: list[str] = []
    # A thread, because no timeout covers the name resolution.
    thread = threading.Thread(target=lambda: answers.append(_probe(url)), daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS + 1)
    problem = answers[0] if answers else f"no answer within {PROBE_SECONDS:g} s"
    if problem:
        host = urllib.parse.urlsplit(url).hostname
        raise InputError(
            f"prepare {name}: cannot download from {host} ({problem}); give a directory that has "
            f"{', '.join(sorted(registered_files(name)))} with --source"
        )


def _probe(url: str) -> str:
    """Return why a URL cannot be downloaded, or '' when it can."""
    import requests

    try:
        with requests.head(url, timeout=PROBE_SECONDS, allow_redirects=True) as response:
            status = response.status_code
    except requests.Timeout:
        return f"no answer within {PROBE_SECONDS:g} s"
    except requests.RequestException as error:
        return type(error).__name__
    return f"HTTP status {status}" if status >= 400 and status not in NO_HEAD_STATUS else ""


def download_files(name: str, folder: pathlib.Path) -> pathlib.Path:
    """Download the original files of `name`, verified by TFDS's checksums.

    Args:
      name: Name of the data set.
      folder: Where to put them; it is created.

    Returns:
      `folder`, which then holds the files under their original names.

    Raises:
      InputError: A download fails, or a file is not the original.
    """
    import requests

    tfds = import_tfds()
    tfds.disable_progress_bar()
    files = registered_files(name)
    failures = (
        requests.RequestException,
        tfds.download.DownloadError,
        tfds.download.download_manager.NonMatchingChecksumError,
    )
    folder.mkdir(parents=True)
    try:
        manager = tfds.download.DownloadManager(
            download_dir=folder / "parts", verify_ssl=True, dataset_name=name
        )
        paths = manager.download({file_name: file.url for file_name, file in files.items()})
    except failures as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"prepare {name}: a download failed ({reason}); try again, or give a directory that "
            f"has {', '.join(sorted(files))} with --source"
        ) from error
    for file_name, path in paths.items():
        pathlib.Path(path).rename(folder / file_name)
    return folder
