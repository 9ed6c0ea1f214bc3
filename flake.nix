{
  description = "PostgreSQL 17 high availability (etcd, Patroni, HAProxy, pgBackRest) as immutable images";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

    nixos-generators = {
      url = "github:nix-community/nixos-generators";
      inputs = {
        nixlib.follows = "nixpkgs";
        nixpkgs.follows = "nixpkgs";
      };
    };
  };

  outputs =
    {
      self,
      nixos-generators,
      nixpkgs,
    }:
    let
      inherit (nixpkgs) lib;

      pgha = import ./nix/lib { inherit lib nixos-generators nixpkgs; };

      perSystem = f: lib.genAttrs pgha.systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = perSystem (
        pkgs:
        pgha.imagePackages pkgs.stdenv.hostPlatform.system
        // import ./nix/packages { inherit pkgs; }
        // {
          default = self.packages.${pkgs.stdenv.hostPlatform.system}.pgha-orch;
        }
      );

      overlays.default = final: _: import ./nix/packages { pkgs = final; };

      nixosModules = import ./nix/modules/roles.nix { inherit lib; };

      nixosConfigurations = pgha.configurations;

      checks = perSystem (pkgs: import ./nix/checks { inherit pkgs self; });

      # The scenarios as nixpkgs' tests are: `.driverInteractive`, `.nodes`, `.extend`.
      legacyPackages = perSystem (pkgs: {
        scenarios = import ./tests/nixos {
          inherit pkgs;
          inherit (self.packages.${pkgs.stdenv.hostPlatform.system}) pgha-orch;
        };
      });

      devShells = perSystem (pkgs: {
        default = import ./nix/shell.nix { inherit pkgs; };
      });

      # The tree, not one file: `nix fmt` formats everything.
      formatter = perSystem (pkgs: pkgs.nixfmt-tree);

      apps = perSystem (pkgs: {
        default = {
          type = "app";
          program = lib.getExe self.packages.${pkgs.stdenv.hostPlatform.system}.pgha-orch;
          meta.description = "Deploy and operate a PostgreSQL high-availability cluster";
        };
      });
    };
}
