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

  # When SIGTERM came just while a message was put, the queue still counts a waiter that is gone, and wakes that one:
  # Patroni then hung at its end until TimeoutStopSec. A second message wakes the logger (images/debian/finish does it too).
  postPatch = (previousAttrs.postPatch or "") + ''
    substituteInPlace patroni/log.py --replace-fail \
      'self._queue_handler.queue.put_nowait(None)' \
      'self._queue_handler.queue.put_nowait(None); self._queue_handler.queue.put_nowait(None)'
  '';

  dependencies = (clients previousAttrs.dependencies).wrong;

  nativeCheckInputs = previousAttrs.nativeCheckInputs ++ (clients previousAttrs.dependencies).right;

  meta = previousAttrs.meta // {
    changelog = "https://github.com/patroni/patroni/blob/v${version}/docs/releases.rst";
  };
})
