# Patroni 4.1.5 from its sdist (which carries its tests): nixpkgs is at an older 4.1.
{
  fetchPypi,
  lib,
  patroni,
}:

let
  version = "4.1.5";

  # Clients of the configuration stores that this project does not use. Patroni imports them only when its
  # configuration names such a store, so they serve its tests and stay out of the image.
  unused = [
    "boto3"
    "consul"
    "cryptography"
    "kazoo"
    "kubernetes"
    "py-consul"
    "pysyncobj"
  ];
  clients = lib.partition (dependency: lib.elem (lib.getName dependency) unused);
in
patroni.overridePythonAttrs (previousAttrs: {
  inherit version;

  src = fetchPypi {
    pname = "patroni";
    inherit version;
    hash = "sha256-kjPfjO8BrGLpLPblZK/oCtooTYfStDk4dNgH3edTzQU=";
  };

  # The Debian image has the same ones; each says what it is for.
  patches = (previousAttrs.patches or [ ]) ++ [
    ../../images/patroni/etcd-that-stops.patch
    ../../images/patroni/logger-that-sleeps.patch
  ];

  # The sdist lacks tests/__init__.py: these cannot be imported without it.
  preCheck = (previousAttrs.preCheck or "") + ''
    rm tests/test_async_executor.py $(grep --files-with-matches '^from \.' tests/*.py)
  '';

  dependencies = (clients previousAttrs.dependencies).wrong;

  nativeCheckInputs = previousAttrs.nativeCheckInputs ++ (clients previousAttrs.dependencies).right;

  meta = previousAttrs.meta // {
    changelog = "https://github.com/patroni/patroni/blob/v${version}/docs/releases.rst";
  };
})
