# The identity's place: no host name of the image's own, names and SSH from /run/pgha (images/node/README.md).
{ config, lib, ... }:

let
  inherit (lib) mkForce mkIf;

  cfg = config.services.pgha;
in
{
  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = config.networking.hostName == "";
        message = ''
          services.pgha: the identity sets the host name at boot, but networking.hostName is
          "${config.networking.hostName}". A name in the image would be every host's.
        '';
      }
    ];

    # Written to /etc/hostname otherwise.
    networking.hostName = lib.mkDefault "";

    # NixOS writes its own /etc/hosts, with the image's host name in it.
    environment.etc.hosts.source = mkForce "/run/pgha/hosts";

    # pgha-data has to be there before the journal and the state directories (WantedBy= in its unit).
    systemd.services.pgha-data = {
      enableDefaultPath = false;
      wantedBy = [ "sysinit.target" ];
    };
  };
}
