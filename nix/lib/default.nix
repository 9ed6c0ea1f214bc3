# What flake.nix is wired from: the images, and how one becomes a configuration, a disk or a test machine.
{
  lib,
  nixos-generators,
  nixpkgs,
}:

let
  # One file in images/ is one image.
  images =
    lib.mapAttrs'
      (file: _: lib.nameValuePair (lib.removeSuffix ".nix" file) (../../images + "/${file}"))
      (
        lib.filterAttrs (file: type: type == "regular" && lib.hasSuffix ".nix" file) (
          builtins.readDir ../../images
        )
      );

  inherit ((lib.importTOML ../../orchestrator/pyproject.toml).project) version;

  # All that an image is, whatever carries it.
  imageModules = system: name: [
    images.${name}
    ../modules
    ../modules/appliance.nix
    ../modules/formats.nix
    {
      # One instance of nixpkgs for all images, not one for each. Overlays of yours still apply.
      nixpkgs.pkgs = lib.mkDefault nixpkgs.legacyPackages.${system};
      system = {
        inherit name;
        image = {
          id = "pgha-${name}";
          inherit version;
        };
      };
    }
  ];

  # nixos-generators' name of a format -> what `packages.<image>` adds for it, and the module behind it.
  formats = {
    appliance = {
      suffix = "";
      module = ../../images/formats/appliance.nix;
    };
    appliance-raw = {
      suffix = "-raw";
      module = {
        imports = [ ../../images/formats/appliance.nix ];
        formatAttr = "image";
        fileExtension = ".raw";
      };
    };
    nspawn = {
      suffix = "-nspawn";
      module = ../../images/formats/nspawn.nix;
    };
  };

  nixosSystem = system: name: nixpkgs.lib.nixosSystem { modules = imageModules system name; };
in
{
  inherit imageModules images version;

  systems = [
    "x86_64-linux"
    "aarch64-linux"
  ];

  # <image> for x86_64, <image>-aarch64 for the other: nixosConfigurations has no place for a system.
  configurations = lib.concatMapAttrs (name: _: {
    ${name} = nixosSystem "x86_64-linux" name;
    "${name}-aarch64" = nixosSystem "aarch64-linux" name;
  }) images;

  # <image> (qcow2), <image>-raw and <image>-nspawn.
  imagePackages =
    system:
    lib.concatMapAttrs (
      name: _:
      lib.mapAttrs' (
        format:
        { suffix, ... }:
        lib.nameValuePair "${name}${suffix}" (
          # hydraJob: the derivation without the configuration behind it, so that `nix flake check` can let go of each.
          lib.hydraJob (
            nixos-generators.nixosGenerate {
              inherit format system;
              customFormats = lib.mapAttrs (_: { module, ... }: module) formats;
              modules = imageModules system name;
            }
          )
        )
      ) formats
    ) images;
}
