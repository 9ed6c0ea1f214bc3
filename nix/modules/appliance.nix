# The node as an appliance: an image with no way to change it, no Nix, no login but by key, and no state but the
# data disk's. A NixOS machine of yours that only runs a pgha service does without this module.
{
  config,
  lib,
  modulesPath,
  pkgs,
  ...
}:

let
  inherit (lib) mkForce mkIf;

  inherit (config.boot) isContainer;
  coreutils = lib.getExe' pkgs.coreutils;
in
{
  imports = [
    "${modulesPath}/profiles/headless.nix"
    "${modulesPath}/profiles/image-based-appliance.nix"
    "${modulesPath}/profiles/perlless.nix"
  ];

  # Thrown away at every boot. Formats add the store; in a container the root is the container manager's.
  fileSystems."/" = mkIf (!isContainer) {
    fsType = "tmpfs";
    options = [
      "mode=0755"
      "size=25%"
    ];
  };

  system = {
    # Read-only and made at build time, mounted by the initrd. A container has no initrd, so there NixOS' activation
    # script fills /etc, which is Perl: the one interpreter that the container variant has and the disk images have not.
    etc.overlay = {
      enable = !isContainer;
      mutable = false;
    };
    forbiddenDependenciesRegexes = mkIf isContainer (mkForce [ ]);

    # What the machine's data was made with means nothing to an image: all state is the services' own.
    stateVersion = lib.trivial.release;
  };

  services.userborn.enable = !isContainer;

  # Root's password is locked, and the keys come with the identity: nobody can be locked out by this image.
  users.allowNoPasswordLogin = true;

  security.sudo.enable = false;

  # pgha-data has mounted the data disk; journald's flush comes next and has to find it here.
  services.pgha.dropIns."pgha-data.service" = ''
    [Service]
    ExecStartPost=${coreutils "mkdir"} -p /var/log
    ExecStartPost=${coreutils "ln"} -sfnT /var/lib/pgha/log/journal /var/log/journal
  '';

  # The store and the root are memory and read-only: nothing needs an initrd's help to be unmounted.
  systemd.shutdownRamfs.enable = false;

  # What NixOS has for people at a console, a desktop's fonts, and logins that set themselves up with X11.
  fonts.fontconfig.enable = false;
  programs = {
    bash.completion.enable = false;
    less.enable = mkForce false;
    nano.enable = false;
    ssh.setXAuthLocation = false;
  };

  # Disks and network cards of hypervisors, clouds and ordinary servers.
  boot.initrd.availableKernelModules = mkIf (!isContainer) [
    "ahci"
    "nvme"
    "sd_mod"
    "usb_storage"
    "virtio_blk"
    "virtio_pci"
    "virtio_scsi"
    "vmw_pvscsi"
  ];
}
