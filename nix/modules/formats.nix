# What `nixos-rebuild build-image` and system.build.images make of a node.
{ lib, ... }:

let
  # nixpkgs' own formats install GRUB or systemd-boot with switch-to-configuration, on a root that is kept. They get
  # the same node without the appliance around it.
  stock = [
    "amazon"
    "azure"
    "digital-ocean"
    "google-compute"
    "hyperv"
    "linode"
    "openstack"
    "proxmox"
    "qemu"
    "qemu-efi"
    "raw"
    "raw-efi"
    "vmware"
  ];
in
{
  image.modules = {
    appliance = ../../images/formats/appliance.nix;
    nspawn = ../../images/formats/nspawn.nix;
  }
  // lib.genAttrs stock (_: {
    disabledModules = [ ./appliance.nix ];
    # Some bring the sshd, the name and the addresses that their cloud expects: the identity's are the ones.
    networking = {
      hostName = lib.mkForce "";
      interfaces = lib.mkForce { };
    };
    services.openssh.enable = lib.mkForce false;
    users.allowNoPasswordLogin = true;
    system.stateVersion = lib.trivial.release;
  });
}
