# Format "appliance": a UEFI disk with systemd-boot, a unified kernel image and a store that dm-verity checks.
# Made by systemd-repart: no installer, no VM, no KVM in the build. nixos-generators' own disk formats install a boot
# loader with switch-to-configuration and GRUB's Perl, which an appliance has neither of.
{
  config,
  lib,
  modulesPath,
  options,
  pkgs,
  ...
}:

let
  inherit (config.image) baseName;
  inherit (config.image.repart.verityStore) partitionIds;
  inherit (pkgs.stdenv.hostPlatform) efiArch isx86_64;
in
{
  imports = [
    "${modulesPath}/image/repart.nix"
    "${modulesPath}/profiles/qemu-guest.nix"
  ];

  config = lib.mkMerge [
    {
      image.repart = {
        name = config.system.image.id;
        # OVMF reads no other.
        sectorSize = 512;

        verityStore.enable = true;

        # The store and its hashes come from verityStore; so does the UKI, which carries the root hash.
        partitions.${partitionIds.esp} = {
          contents."/EFI/BOOT/BOOT${lib.toUpper efiArch}.EFI".source =
            "${config.systemd.package}/lib/systemd/boot/efi/systemd-boot${efiArch}.efi";
          repartConfig = {
            Type = "esp";
            Format = "vfat";
            # Kernels of other platforms than x86_64 are not compressed.
            SizeMinBytes = if isx86_64 then "96M" else "192M";
          };
        };
      };

      system.build.qcow2 =
        pkgs.runCommand "${baseName}-qcow2" { nativeBuildInputs = [ pkgs.buildPackages.qemu-utils ]; }
          ''
            mkdir "$out"
            qemu-img convert -f raw -O qcow2 -c \
              ${config.system.build.image}/${config.image.fileName} "$out/${baseName}.qcow2"
            cp ${config.environment.etc."pgha/image.json".source} "$out/image.json"
          '';

      # The partition under /usr is all that a read-only /usr holds: no room for /usr/bin/env.
      system.activationScripts.usrbinenv = lib.mkForce "";

      boot.kernelParams = [
        # PGHA images are watched through a serial console or not at all.
        (if isx86_64 then "console=ttyS0,115200" else "console=ttyAMA0,115200")
      ];
    }

    # nixos-generators asks for the attribute to build; nixpkgs' system.build.images takes system.build.image.
    (lib.optionalAttrs (options ? formatAttr) {
      formatAttr = lib.mkDefault "qcow2";
      fileExtension = lib.mkDefault ".qcow2";
    })
  ];
}
