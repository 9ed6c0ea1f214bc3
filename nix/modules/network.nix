# systemd-networkd, configured by the identity alone: /run/systemd/network/70-pgha.network.
{ config, lib, ... }:

let
  inherit (lib) mkDefault mkIf;

  cfg = config.services.pgha;
  own = lib.attrNames config.systemd.network.networks;
in
{
  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = own == [ ];
        message = ''
          services.pgha: the identity brings the network, but systemd.network.networks also defines
          ${lib.concatMapStringsSep ", " (name: ''"${name}"'') own}. Take it out, or add it to hosts.yml.
        '';
      }
    ];

    networking = {
      useNetworkd = true;
      useDHCP = mkDefault false;
      # Addresses are static and names are in /run/pgha/hosts: a node asks no resolver.
      resolvconf.enable = mkDefault false;
    };

    services.resolved.enable = false;
  };
}
