#!/usr/bin/env python3
"""Checks the sources: who includes whom, how long files are, what they may not say."""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# A layer and the layers it may include. The rule in words: docs/architecture.md.
RUNTIME = {
    "base": set(),
    "format": {"base"},
    "model": {"format", "base", "kernels"},
    "kv": {"model", "format", "base", "kernels"},
    "sampling": {"base"},
    "text": {"format", "base"},
    "exec": {"model", "kv", "sampling", "text", "format", "base", "kernels"},
    "api": {"exec", "model", "kv", "sampling", "text", "format", "base", "kernels", "minnow"},
    "jni": {"minnow"},
}
LAYERS = dict(RUNTIME)
LAYERS["compress"] = set(RUNTIME) - {"api", "jni"} | {"kernels", "minnow"}
# kernels/common is below everything: isa.h names the levels that src/base detects, quantised.h the layouts whose sizes
# src/format checks.
COMMON_FOR = {"base", "format"}

LIMITS = {".cpp": 800, ".h": 400, ".c": 800, ".py": 800, ".sh": 800, ".fbs": 800, ".inc": 400}
KERNEL_LIMIT = 400

# Libraries that only one place may know.
CONFINED = {
    r"flatbuffers/|_generated\.h": r"^src/format/",
    r"xnnpack\.h": r"^src/exec/float_gemm\.cpp$",
    r"pthreadpool\.h": r"^src/base/thread_pool\.cpp$",
    r"cpuinfo\.h": r"^src/base/cpu\.cpp$",
    r"nlohmann/|CLI/": r"^(src/compress/|examples/cli/|bench/retrieval/|tests/)",
    r"Eigen/": r"^src/compress/product/body\.h$",
    r"pcre2\.h": r"^src/text/",
    r"utf8proc\.h": r"^src/text/",
}


def layer_of(path):
    if path.startswith("src/"):
        return path.split("/")[1]
    if path.startswith("kernels/common/"):
        return "kernels/common"
    if path.startswith("kernels/"):
        return "kernels"
    return path.split("/")[0]


def check_include(path, target, errors):
    for pattern, allowed in CONFINED.items():
        if re.search(pattern, target) and not re.match(allowed, path):
            errors.append(f"{path}: includes {target}, which is confined to {allowed}")
    first = target.split("/")[0]
    layer = layer_of(path)
    if layer in LAYERS:
        if first == layer or first not in set(LAYERS) | {"kernels", "minnow"}:
            return
        if target.startswith("kernels/common/") and layer in COMMON_FOR:
            return
        if first not in LAYERS[layer]:
            errors.append(f"{path}: layer {layer} may not include {target}")
    elif layer == "kernels" and first in LAYERS:
        errors.append(f"{path}: kernels may include kernels only, not {target}")
    elif layer == "kernels" and target.startswith("kernels/"):
        family = path.split("/")[1]
        if target.split("/")[1] not in (family, "common"):
            errors.append(f"{path}: a kernel family may include itself and kernels/common, not {target}")
    elif layer == "kernels/common" and (first in LAYERS or (first == "kernels" and not target.startswith("kernels/common/"))):
        errors.append(f"{path}: kernels/common may include nothing of minnow, not {target}")
    elif layer == "examples" and first in LAYERS and not (path.startswith("examples/cli/") and first == "compress"):
        errors.append(f"{path}: examples use include/minnow only, not {target}")


def main():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    errors, files = [], 0
    for path in filter(None, tracked):
        full = ROOT / path
        if full.suffix not in LIMITS or not full.is_file():
            continue
        files += 1
        lines = full.read_text(encoding="utf-8").split("\n")
        limit = KERNEL_LIMIT if path.startswith("kernels/") else LIMITS[full.suffix]
        if path == "include/minnow/minnow.h":
            limit = 800  # the header is the manual
        if len(lines) > limit + 1:
            errors.append(f"{path}: {len(lines)} lines, at most {limit}")
        for line in lines:
            m = re.match(r'\s*#\s*include\s*[<"]([^">]+)[">]', line)
            if m:
                check_include(path, m.group(1), errors)
        if path.startswith("src/") and not path.startswith("src/compress/"):
            text = "\n".join(lines)
            for word in (r"\bstd::cout\b", r"\bstd::cerr\b", r"\bprintf\s*\(", r"\babort\s*\(", r"\bassert\s*\(", r"\bexit\s*\("):
                if re.search(word, text):
                    errors.append(f"{path}: the library may not use {word}")
    for e in errors:
        print(e, file=sys.stderr)
    print(f"sources: {files} files checked, {len(errors)} faults")
    return 1 if errors else 0


sys.exit(main())
