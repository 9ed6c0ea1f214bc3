# chrony, with the payload's unit and the identity's configuration.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.pgha;
in
{
  options.services.pgha.chrony.package = lib.mkPackageOption pkgs "chrony" { };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = !config.services.chrony.enable;
        message = ''
          services.pgha: services.chrony.enable = true defines a second chronyd.service. The node's time servers
          are written in hosts.yml.
        '';
      }
    ];

    services = {
      timesyncd.enable = false;

      pgha = {
        placeholders.chronyd = lib.getExe' cfg.chrony.package "chronyd";
        components.chrony = cfg.chrony.package;
      };
    };

    environment.systemPackages = [ cfg.chrony.package ];
  };
}
