"""The files that every server serves: the same tree in memory, made anew for a run."""
import os
import random
import re
import shutil
from pathlib import Path

SIZES = {"1k": 1024, "10k": 10 * 1024, "100k": 100 * 1024, "1m": 1024 * 1024}
MIXED_FILES = 10_000
MIXED_BYTES_MAX = 1 << 20  # of one file
MIXED_REQUESTS = 200_000
ZIPF_EXPONENT = 0.9
COLD_BYTES = 4096
REAL_PLACES = ("/usr/share/doc", "/usr/include", "/usr/share", "/usr/lib/python3")
PLAIN_PATH = re.compile(r"[A-Za-z0-9_+/-][A-Za-z0-9._+/-]*")


def seeded_bytes(size, seed):
    return random.Random(seed).randbytes(size)


def real_files():
    """Real files of this system, a plain name each, in a fixed order."""
    seen = set()
    for place in REAL_PLACES:
        for base, folders, names in os.walk(place):
            folders[:] = sorted(f for f in folders if not f.startswith("."))
            for name in sorted(names):
                path = Path(base, name)
                if name.startswith(".") or not PLAIN_PATH.fullmatch(str(path)) or path.is_symlink() or path in seen:
                    continue
                try:
                    size = path.stat().st_size
                except OSError:
                    continue
                if 0 < size <= MIXED_BYTES_MAX and os.access(path, os.R_OK):
                    seen.add(path)
                    yield path


def make_mixed(root):
    """Copies up to MIXED_FILES real files, spread evenly over what is there; gives their URL paths."""
    candidates = list(real_files())
    chosen = random.Random(1).sample(candidates, min(MIXED_FILES, len(candidates)))
    urls = []
    for path in chosen:
        target = root / "mixed" / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        urls.append("/mixed" + str(path))
    return urls


def write_requests(file, urls):
    """A sequence in which file number k is asked for as 1/k^s: a few are hot, most are rare."""
    rng = random.Random(2)
    weights = [1 / (rank + 1) ** ZIPF_EXPONENT for rank in range(len(urls))]
    file.write_text("\n".join(rng.choices(urls, weights, k=MIXED_REQUESTS)) + "\n")


def make_cold(root, count):
    """`count` files of COLD_BYTES, a hundred to a folder; gives their URL paths."""
    body = seeded_bytes(COLD_BYTES, 3)
    urls = []
    for number in range(count):
        folder = root / "cold" / f"{number // 100:04}"
        if number % 100 == 0:
            folder.mkdir(parents=True)
        (folder / f"{number:06}.bin").write_bytes(body)
        urls.append(f"/cold/{number // 100:04}/{number:06}.bin")
    return urls


def make_sizes(scratch):
    """Builds the tree below scratch/www with one file of each size."""
    root = scratch / "www"
    root.mkdir(mode=0o755)
    for name, size in SIZES.items():
        (root / f"{name}.bin").write_bytes(seeded_bytes(size, size))
    return root


def make(scratch, cold_files):
    """Builds the tree below scratch/www and the request lists beside it; gives what to say of it in a report."""
    root = make_sizes(scratch)
    urls = make_mixed(root)
    write_requests(scratch / "mixed.paths", urls)
    (scratch / "cold.paths").write_text("\n".join(make_cold(root, cold_files)) + "\n")
    total = sum((root / url[1:]).stat().st_size for url in urls)
    return {"mixed_files": len(urls), "mixed_bytes": total, "cold_files": cold_files}
