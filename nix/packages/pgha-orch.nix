# The orchestrator, with its unit tests run in the build.
{
  lib,
  openssh,
  python3Packages,
}:

let
  inherit (lib.importTOML ../../orchestrator/pyproject.toml) project;
in
python3Packages.buildPythonApplication {
  pname = project.name;
  inherit (project) version;
  pyproject = true;

  src = lib.fileset.toSource {
    root = ../../orchestrator;
    fileset = lib.fileset.unions [
      ../../orchestrator/pyproject.toml
      ../../orchestrator/src
      ../../orchestrator/tests
    ];
  };

  build-system = [ python3Packages.setuptools ];

  # psycopg[binary] is the wheel with its own libpq; nixpkgs builds psycopg against the one it ships.
  pythonRemoveDeps = [ "psycopg-binary" ];

  dependencies = [
    python3Packages.click
    python3Packages.cryptography
    python3Packages.httpx
    python3Packages.jinja2
    python3Packages.paramiko
    python3Packages.psycopg
    python3Packages.pydantic
    python3Packages.pyyaml
    python3Packages.rich
  ];

  nativeCheckInputs = [
    openssh
    python3Packages.pytestCheckHook
    python3Packages.pytest-timeout
  ];

  pythonImportsCheck = [ "pgha_orch" ];

  meta = {
    inherit (project) description;
    license = lib.licenses.mit;
    mainProgram = project.name;
    platforms = lib.platforms.linux;
  };
}
