# The flake's outputs from trees on this machine: no lock, no fetch, no copy of nixpkgs into the store.
{
  generators,
  nixpkgs,
  source,
}:

let
  call =
    directory: inputs:
    let
      outputs = (import (directory + "/flake.nix")).outputs (inputs // { inherit self; });
      self = outputs // {
        _type = "flake";
        inherit inputs;
        lastModified = 0;
        lastModifiedDate = "19700101000000";
        outPath = toString directory;
        sourceInfo = { };
      };
    in
    self;

  path = text: /. + text;
  nixpkgsFlake = call (path nixpkgs) { };
in
call (path source) {
  nixpkgs = nixpkgsFlake;
  nixos-generators = call (path generators) {
    nixlib = nixpkgsFlake;
    nixpkgs = nixpkgsFlake;
  };
}
