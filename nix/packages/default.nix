# What this flake adds to nixpkgs.
{ pkgs }:

{
  haproxy_2_9 = pkgs.callPackage ./haproxy_2_9.nix { };
  patroni_4_1_5 = pkgs.callPackage ./patroni.nix { };
  pgha-orch = pkgs.callPackage ./pgha-orch.nix { };
}
