# Everything that `nix flake check` builds: the lint checks, the packages' builds, and one VM test per scenario.
{ pkgs, self }:

let
  inherit (pkgs) lib;
  inherit (pkgs.stdenv.hostPlatform) system;
in
import ./lint.nix { inherit pkgs; }
// {
  inherit (self.packages.${system}) haproxy_2_9 patroni_4_1_5 pgha-orch;
}
// lib.optionalAttrs (builtins.pathExists ../../tests/nixos/lib) (
  import ../../tests/nixos { inherit pkgs; }
)
