# `nix develop`: what `make` and `.ci/run` want, and the orchestrator's dependencies.
{ pkgs }:

let
  orch = pkgs.callPackage ./packages/pgha-orch.nix { };
in
pkgs.mkShellNoCC {
  packages = [
    (pkgs.python3.withPackages (
      python:
      orch.dependencies
      ++ [
        python.mypy
        python.pytest
        python.pytest-timeout
        python.types-paramiko
        python.types-pyyaml
      ]
    ))
    pkgs.deadnix
    pkgs.gnumake
    pkgs.nixfmt
    pkgs.postgresql_17
    pkgs.qemu-utils
    pkgs.ruff
    pkgs.shellcheck
    pkgs.statix
  ];
}
