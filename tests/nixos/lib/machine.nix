# One host of the inventory as a test machine: its role's image modules, its identity, its data disk.
{
  archives,
  hostName,
  role,
}:
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (config.boot) isContainer;
  archive = "${archives}/${hostName}.tar";
  image = {
    etcd = ../../../images/etcd-node.nix;
    postgres = ../../../images/pg-node.nix;
    haproxy = ../../../images/haproxy-node.nix;
    backup = ../../../images/backup-node.nix;
  };
in
{
  imports = [
    ../../../nix/modules
    ../../../nix/modules/appliance.nix
    image.${role}
  ];

  system.name = hostName;

  # The test framework would give the machine a name and addresses. Both are the identity's to give.
  networking = {
    hostName = "";
    interfaces = lib.mkForce { };
  };

  virtualisation = lib.mkMerge [
    { vlans = [ 1 ]; }
    (lib.optionalAttrs (!isContainer) {
      # Only the cluster's network: the identity's address goes to every Ethernet card.
      qemu.networkingOptions = lib.mkForce [ ];
      credentials."pgha.identity".source = archive;
      # The data disk, blank.
      emptyDiskImages = [ 2048 ];
      memorySize = 768;
    })
  ];

  # In a container both come by other ways: the credential from the unit, and a directory that is a mount point.
  services.pgha.dropIns = lib.mkIf isContainer {
    "pgha-identity.service" = ''
      [Service]
      LoadCredential=pgha.identity:${archive}
    '';
    "pgha-data.service" = ''
      [Service]
      ExecStartPre=${pkgs.coreutils}/bin/mkdir -p /var/lib/pgha
      ExecStartPre=${pkgs.util-linux}/bin/mount --bind /var/lib/pgha /var/lib/pgha
    '';
  };

  environment.systemPackages = [ pkgs.jq ];
}
