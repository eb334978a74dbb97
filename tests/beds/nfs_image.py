"""The disks from which the virtual machines of the NFS bed start: built once, kept in a cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.beds.needs import SEARCH, BedUnavailableError, require_programs, require_root, run

GUEST = Path(__file__).parent / "guest"
REPOSITORY = GUEST.parent.parent.parent
RELEASE = "bookworm"
PACKAGES = ("python3", "nfs-common", "nfs-kernel-server", "rpcbind", "kmod", "iproute2")
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86", "debootstrap": "debootstrap", "busybox": "busybox-static",
    "mkfs.ext4": "e2fsprogs", "depmod": "kmod",
}  # fmt: skip
EARLY_MODULES = ("virtio_pci", "virtio_blk")
LATE_MODULES = ("virtio_net", "virtio_rng", "sunrpc", "nfsd", "nfsv4", "nfs_layout_flexfiles")
# The guests run this Python's packages.
PYTHON = (3, 11)
MODULES_NEEDED = (
    "numpy", "msgpack", "msgspec", "filelock", "yaml", "click", "watchdog", "pydantic", "pydantic_core", "annotated_types", "typing_extensions",
    "typing_inspection", "threadpoolctl",
)  # fmt: skip


@dataclass(frozen=True)
class Images:
    """Files for qemu."""

    kernel: Path
    initrd: Path
    root: Path


def cache_folder() -> Path:
    """Where the images are kept."""
    told = os.environ.get("ARBD_BED_CACHE")
    return Path(told) if told else Path.home() / ".cache" / "arbd" / "beds"


def build() -> Images:
    """The images, from the cache where they are there and current."""
    require_root()
    if sys.version_info[:2] != PYTHON:
        raise BedUnavailableError(f"the guests have Python {PYTHON[0]}.{PYTHON[1]}, and run the packages of this one")
    require_programs(PROGRAMS)
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for file in sorted(GUEST.glob("*.sh")):
        digest.update(file.read_bytes())
    folder = cache_folder() / f"nfs-{digest.hexdigest()[:12]}"
    images = Images(folder / "vmlinuz", folder / "initrd", folder / "root.ext4")
    if images.root.exists():
        return images
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kernel = _unpack_kernel(folder)
    tree = folder / "root"
    run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", RELEASE, tree, timeout_s=600)
    (tree / "bed").mkdir()
    shutil.copy(GUEST / "start.sh", tree / "bed/start.sh")
    for waste in ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(tree / waste, ignore_errors=True)
    _install_modules(kernel, tree)
    _write_initrd(kernel, images.initrd)
    shutil.copy(next((kernel / "boot").glob("vmlinuz-*")), images.kernel)
    partly = folder / "root.partly"
    make_disk(partly, 600, tree)
    shutil.rmtree(tree)
    shutil.rmtree(kernel)
    partly.rename(images.root)
    return images


def make_disk(path: Path, mebibytes: int, content: Path | None = None) -> None:
    """An ext4 image."""
    with path.open("wb") as file:
        file.truncate(mebibytes << 20)
    run("mkfs.ext4", "-q", "-F", "-m", "0", *(["-d", content] if content else []), path)


def make_code_disk(folder: Path) -> Path:
    """An image with this project and the packages that a daemon needs."""
    tree = folder / "code"
    tree.mkdir()
    for name in ("arbd", "tests"):
        shutil.copytree(REPOSITORY / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    packages = Path(sysconfig.get_path("purelib"))
    for name in MODULES_NEEDED:
        for found in (*packages.glob(name), *packages.glob(f"{name}.py"), *packages.glob(f"{name}.libs")):
            if found.is_dir():
                shutil.copytree(
                    found, tree / found.name, ignore=shutil.ignore_patterns("__pycache__", "tests", "*.pyi")
                )
            else:
                shutil.copy(found, tree)
    disk = folder / "code.ext4"
    make_disk(disk, 256, tree)
    shutil.rmtree(tree)
    return disk


def _unpack_kernel(folder: Path) -> Path:
    listed = run("apt-cache", "depends", "linux-image-cloud-amd64", check=False).stdout
    found = re.search(r"Depends: (linux-image-\S+)", listed)
    if found is None:
        raise BedUnavailableError("no kernel package linux-image-cloud-amd64 in the package lists")
    # apt-get downloads into the folder where it runs.
    run("sh", "-c", f"cd '{folder}' && apt-get download -qq {found[1]}", timeout_s=300)
    run("dpkg-deb", "-x", next(folder.glob("*.deb")), folder / "kernel")
    kernel = folder / "kernel"
    run("depmod", "-b", kernel, _version(kernel))
    return kernel


def _version(kernel: Path) -> str:
    return next((kernel / "lib/modules").iterdir()).name


def _needed(kernel: Path, modules: tuple[str, ...]) -> Iterator[str]:
    """Paths of modules and of those that they need, the needed ones first."""
    lines = (kernel / "lib/modules" / _version(kernel) / "modules.dep").read_text().splitlines()
    table = {Path(line.split(":")[0]).name.split(".")[0].replace("-", "_"): line for line in lines}
    for module in modules:
        path, _, needs = table.get(module, "").partition(":")
        yield from (*reversed(needs.split()), *([path] if path else []))


def _install_modules(kernel: Path, tree: Path) -> None:
    source = kernel / "lib/modules" / _version(kernel)
    target = tree / "lib/modules" / _version(kernel)
    for path in {*_needed(kernel, (*EARLY_MODULES, *LATE_MODULES)), "modules.builtin", "modules.order"}:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / path, target / path)
    run("depmod", "-b", tree, _version(kernel))


def _write_initrd(kernel: Path, path: Path) -> None:
    order = list(dict.fromkeys(_needed(kernel, EARLY_MODULES)))
    source = kernel / "lib/modules" / _version(kernel)
    busybox = shutil.which("busybox", path=SEARCH)
    assert busybox is not None
    files = {
        "init": (GUEST / "initrd.sh").read_bytes(),
        "bin/busybox": Path(busybox).read_bytes(),
        "modules/order": "\n".join(Path(module).name for module in order).encode(),
        **{f"modules/{Path(module).name}": (source / module).read_bytes() for module in order},
    }
    with path.open("wb") as file:
        for folder in ("bin", "modules", "dev", "proc", "sys"):
            file.write(_archive_member(folder, stat.S_IFDIR | 0o755))
        file.write(_archive_member("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
        for name, data in files.items():
            file.write(_archive_member(name, stat.S_IFREG | 0o755, data))
        file.write(_archive_member("TRAILER!!!", 0))


def _archive_member(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """One member of a cpio archive in the `newc` format that the kernel unpacks."""
    encoded = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
    head = b"070701" + "".join(f"{number:08x}" for number in numbers).encode() + encoded
    return head.ljust(-(-len(head) // 4) * 4, b"\0") + data.ljust(-(-len(data) // 4) * 4, b"\0")
