"""Writing a TFDS directory with TFDS's own writer, as the stock data set of that name."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import pathlib
from typing import TYPE_CHECKING, Any

from phase_jax.data.directory import READABLE_FORMAT
from phase_jax.data.sources import CIFAR10_CLASSES, Splits
from phase_jax.data.tfds_import import import_tfds
from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDS_TENSORFLOW = ("cifar100", "svhn_cropped")
"""Data sets that only TFDS's stock builder can write, which needs TensorFlow."""


def write_splits(name: str, splits: Splits, root: pathlib.Path) -> pathlib.Path:
    """Write decoded originals as the stock TFDS data set, without TensorFlow.

    Name, version, features, description and the order of the examples (TFDS sorts them by a hash
    of the split and the key, here as in the stock builder the position in the original file) are
    the stock builder's own; only its reading of files and its PNG encoder are replaced.

    Args:
      name: mnist, fashion_mnist or cifar10.
      splits: The decoded originals.
      root: Data directory to write into.

    Returns:
      The directory written, `root/name/version`.
    """
    import PIL.Image

    stock: Any = import_tfds().builder_cls(name)

    class OriginalsBuilder(stock, skip_registration=True):  # pyright: ignore
        # TFDS stores both; as the stock class's they make the directory the stock data set.
        name = stock.name
        __module__ = stock.__module__

        def _info(self):
            info = super()._info()
            # TFDS would look for metadata on the network here, and leave a temporary directory.
            info.initialize_from_bucket = lambda: None
            return info

        def _split_generators(self, dl_manager):
            if name == "cifar10":
                self.info.features["label"].names = CIFAR10_CLASSES
            return {split: self._generate_examples(split) for split in splits}

        def _generate_examples(self, split):
            for index, (image, label) in enumerate(zip(*splits[split], strict=True)):
                # A PIL image, because TFDS encodes arrays with TensorFlow.
                example = {"image": PIL.Image.fromarray(image), "label": int(label)}
                if "id" in self.info.features:
                    example["id"] = f"{split}_{index:05d}"
                yield index, example

    return _run_builder(OriginalsBuilder, root, None)


def require_tensorflow(name: str) -> None:
    """Raise InputError when `name` cannot be written because TensorFlow is not installed."""
    if importlib.util.find_spec("tensorflow") is None:
        raise InputError(
            f"prepare {name}: needs TensorFlow, which is not installed (loading does not need it); "
            "install it with: pip install 'phase-jax[prepare]'"
        )


def write_with_stock_builder(name: str, folder: pathlib.Path, root: pathlib.Path) -> pathlib.Path:
    """Write a data set with TFDS's stock builder, which needs TensorFlow but no network.

    Args:
      name: One of `NEEDS_TENSORFLOW`.
      folder: Where the verified original files lie.
      root: Data directory to write into.

    Returns:
      The directory written, `root/name/version`.
    """
    return _run_builder(import_tfds().builder_cls(name), root, folder)


def _run_builder(
    builder_cls: type, root: pathlib.Path, folder: pathlib.Path | None
) -> pathlib.Path:
    tfds = import_tfds()
    config = tfds.download.DownloadConfig(manual_dir=folder, try_download_gcs=False)
    with _silence(tfds):
        builder = builder_cls(data_dir=root)
        builder.download_and_prepare(file_format=READABLE_FORMAT, download_config=config)
    return pathlib.Path(builder.data_dir)


@contextlib.contextmanager
def _silence(tfds) -> Iterator[None]:
    """Keep TFDS's progress bars and announcements off the terminal."""
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        yield
