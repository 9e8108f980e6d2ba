#!/bin/sh
# Fills /opt/venv inside a build; the Dockerfiles beside it call it, in this order:
#   install.sh dependencies EXTRA…   what pyproject.toml asks for, in the versions of constraints.txt
#   install.sh extra EXTRA…          more of it, into the same environment
#   install.sh wheel                 Ovenbird itself, as a wheel in /dist
#   install.sh project               that wheel, from /tmp/dist, and the list of all that is installed
# Two optional secrets of the build are used where they are given: /etc/pip.conf and /run/secrets/ca.crt.
set -eu

CYCLONEDX_BOM=7.5.0
SBOM=/opt/venv/share/sbom/ovenbird.cdx.json

if [ -s /run/secrets/ca.crt ]; then
    export PIP_CERT=/run/secrets/ca.crt
fi
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# The environment has no pip of its own: the one that serves needs none.
pip_in() {
    environment=$1
    shift
    python3 -m pip --python "$environment/bin/python" "$@"
}

requirements() {
    python3 - "$@" <<'PYTHON'
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
for extra in sys.argv[1:]:
    print(*(project["dependencies"] if extra == "base" else project["optional-dependencies"][extra]), sep="\n")
PYTHON
}

extra() {
    requirements "$@" > /tmp/requirements.txt
    pip_in /opt/venv install --only-binary :all: -c constraints.txt -r /tmp/requirements.txt
}

dependencies() {
    python3 -m venv --without-pip /opt/venv
    # What writes the list of what is installed is no part of it.
    python3 -m venv --without-pip /tmp/sbom
    pip_in /tmp/sbom install --only-binary :all: "cyclonedx-bom==$CYCLONEDX_BOM"
    extra base "$@"
}

wheel() {
    python3 -m pip wheel --no-deps --wheel-dir /dist .
}

project() {
    pip_in /opt/venv install --no-deps --no-index /tmp/dist/*.whl
    pip_in /opt/venv check
    mkdir -p "$(dirname "$SBOM")"
    /tmp/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
        --output-format JSON --output-file "$SBOM" /opt/venv/bin/python
}

"$@"
