"""As much of Kustomize as ``deploy/kubernetes`` uses, so that what it builds can be looked at anywhere.

Where ``kustomize`` or ``kubectl`` is installed, a test compares this with the real one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.contract.deployment import document, documents, environment_file

KNOWN = {
    "apiVersion",
    "kind",
    "components",
    "configMapGenerator",
    "images",
    "labels",
    "namespace",
    "patches",
    "resources",
}
CLUSTER_WIDE = {"Namespace"}

Resources = list[dict[str, Any]]


def built(folder: Path, *, components: tuple[Path, ...] = ()) -> Resources:
    """Return the resources of a folder, with the components that it names and these."""
    return _apply(folder, [], components=components)


def pod_of(resource: dict[str, Any]) -> dict[str, Any] | None:
    """Return the template of the pods that a resource makes, if it makes any."""
    return resource.get("spec", {}).get("template") if resource["kind"] in {"Deployment", "Job"} else None


def _apply(folder: Path, resources: Resources, *, components: tuple[Path, ...] = ()) -> Resources:
    """Add what a kustomization.yaml names to resources, in Kustomize's order, and change all of them."""
    told = document(folder / "kustomization.yaml")
    assert told.keys() <= KNOWN, f"{folder} uses more of Kustomize than is known here"
    for name in told.get("resources", ()):
        path = folder / name
        resources += built(path) if path.is_dir() else documents(path)
    for generator in told.get("configMapGenerator", ()):
        _generate(folder, generator, resources)
    for path in [*(folder / name for name in told.get("components", ())), *components]:
        _apply(path, resources)
    for patch in told.get("patches", ()):
        _patch(patch, resources)
    for resource in resources:
        for labels in told.get("labels", ()):
            _label(resource, labels)
        if "namespace" in told and resource["kind"] not in CLUSTER_WIDE:
            resource["metadata"]["namespace"] = told["namespace"]
        _name_images(resource, told.get("images", ()))
    return resources


def _generate(folder: Path, generator: dict[str, Any], resources: Resources) -> None:
    data: dict[str, str] = {}
    for name in generator.get("envs", ()):
        data |= environment_file(folder / name)
    data |= dict(literal.split("=", 1) for literal in generator.get("literals", ()))
    found = [each for each in resources if each["metadata"]["name"] == generator["name"]]
    maps = [each for each in found if each["kind"] == "ConfigMap"]
    if generator.get("behavior") == "merge":
        (old,) = maps
        old["data"] |= data
    else:
        assert maps == []
        made = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": generator["name"]},
            "data": data,
        }
        resources.append(made)


def _patch(patch: dict[str, Any], resources: Resources) -> None:
    """Take away what a patch says; nothing here needs more."""
    wanted = patch["target"]["kind"], patch["target"]["name"]
    (target,) = [each for each in resources if (each["kind"], each["metadata"]["name"]) == wanted]
    for operation in yaml.safe_load(patch["patch"]):
        assert operation.keys() == {"op", "path"}, operation
        assert operation["op"] == "remove", operation
        *folders, last = operation["path"].strip("/").split("/")
        place = target
        for folder in folders:
            place = place[folder]
        del place[last]


def _label(resource: dict[str, Any], labels: dict[str, Any]) -> None:
    resource["metadata"].setdefault("labels", {}).update(labels["pairs"])
    pod = pod_of(resource)
    if labels.get("includeTemplates") and pod is not None:
        pod["metadata"].setdefault("labels", {}).update(labels["pairs"])


def _name_images(resource: dict[str, Any], images: Any) -> None:
    for container in (pod_of(resource) or {}).get("spec", {}).get("containers", ()):
        for image in images:
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
