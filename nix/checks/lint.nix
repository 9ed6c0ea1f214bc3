# Layout and dead code of every Nix file, and the payload's shell.
{ pkgs }:

let
  inherit (pkgs) lib;

  sources = lib.fileset.toSource {
    root = ../..;
    fileset = lib.fileset.unions [
      ../../flake.nix
      (lib.fileset.fileFilter (file: file.hasExt "nix") ../../images)
      (lib.fileset.fileFilter (file: file.hasExt "nix") ../../nix)
      (lib.fileset.fileFilter (file: file.hasExt "nix") ../../tests)
    ];
  };

  lint =
    name: package: command:
    pkgs.runCommandLocal "pgha-lint-${name}" { nativeBuildInputs = [ package ]; } ''
      cd ${sources}
      ${command}
      touch "$out"
    '';
in
{
  lint-deadnix = lint "deadnix" pkgs.deadnix "deadnix --fail .";
  lint-nixfmt = lint "nixfmt" pkgs.nixfmt "find . -name '*.nix' -exec nixfmt --check {} +";
  lint-statix = lint "statix" pkgs.statix "statix check .";
}
