# Everything that `nix flake check` builds: lint, the packages with their own tests, and every scenario.
{ pkgs, self }:

let
  inherit (pkgs) lib;
  inherit (pkgs.stdenv.hostPlatform) system;
  inherit (self.packages.${system}) haproxy_2_9 patroni_4_1_5 pgha-orch;

  scenarios = import ../../tests/nixos {
    inherit pgha-orch pkgs;
    # A scenario is nine NixOS configurations, 2 GB while it is evaluated. hydraJob keeps the derivation and lets go of
    # them; in here, because a set of the whole tests would hold them all.
    job = lib.hydraJob;
  };
in
import ./lint.nix { inherit pkgs; }
// lib.mapAttrs' (name: lib.nameValuePair "scenario-${name}") scenarios
// {
  inherit haproxy_2_9 patroni_4_1_5 pgha-orch;
}
