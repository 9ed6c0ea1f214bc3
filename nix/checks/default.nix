# Everything that `nix flake check` builds: lint, the packages with their own tests, and every scenario.
{ pkgs, self }:

let
  inherit (pkgs.stdenv.hostPlatform) system;
  inherit (self.packages.${system}) haproxy_2_9 patroni_4_1_5 pgha-orch;
in
import ./lint.nix { inherit pkgs; }
// import ../../tests/nixos { inherit pgha-orch pkgs; }
// {
  inherit haproxy_2_9 patroni_4_1_5 pgha-orch;
}
