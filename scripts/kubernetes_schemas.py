"""Takes the strict schemas of one version of Kubernetes out of the wheel of kubernetes-validate: WHEEL FOLDER. kubeconform finds a schema by its file's name, and
what it refers to beside it."""

import json
import pathlib
import sys
import zipfile

inside = "kubernetes_validate/kubernetes-json-schema/v1.37.0-local-strict/"


def extract(wheel: str, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(inside) and name.endswith(".json"):
                text = archive.read(name).decode().replace('"/api/_definitions.json', '"_definitions.json')
                schema = json.loads(text)
                schema.pop("$id", None)  # an address that nobody answers at
                (folder / pathlib.PurePath(name).name).write_text(json.dumps(schema))


extract(sys.argv[1], pathlib.Path(sys.argv[2]))
