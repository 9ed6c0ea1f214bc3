# One scenario a file; every file here is one. `pgha-orch test` and `nix flake check` run them.
# Gives a NixOS test for each, or what `job` makes of it.
{
  pgha-orch,
  pkgs,
  job ? test: test,
}:

let
  inherit (pkgs) lib;

  scenarios = lib.filterAttrs (
    file: type: type == "regular" && lib.hasSuffix ".nix" file && file != "default.nix"
  ) (builtins.readDir ./.);

  testLib = import ./lib { inherit pgha-orch pkgs; };
in
lib.mapAttrs' (
  file: _:
  let
    name = lib.removeSuffix ".nix" file;
  in
  lib.nameValuePair name (job (testLib.run name (import (./. + "/${file}"))))
) scenarios
