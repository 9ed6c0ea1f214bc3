# sshd with the payload's unit and configuration: keys only, host key and authorized keys from the identity.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.pgha;
  session = config.security.pam.services.sshd.rules.session;
in
{
  options.services.pgha.openssh.package = lib.mkPackageOption pkgs "openssh" { };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = !config.services.openssh.enable;
        message = ''
          services.pgha: services.openssh.enable = true defines a second sshd.service. Who may log in is written
          in hosts.yml.
        '';
      }
    ];

    services.pgha.placeholders.sshd = lib.getExe' cfg.openssh.package "sshd";

    environment = {
      etc."ssh/sshd_config".source = "${cfg.payload}/lib/pgha/sshd_config";
      systemPackages = [ cfg.openssh.package ];
    };

    users = {
      users.sshd = {
        isSystemUser = true;
        group = "sshd";
        description = "SSH privilege separation user";
      };
      groups.sshd = { };
    };

    security.pam.services.sshd = {
      startSession = true;
      unixAuth = false;

      # What /etc/environment is on Debian: NixOS' pam_env does not read that file.
      rules.session.pgha = {
        order = session.env.order + 10;
        control = "optional";
        modulePath = "${config.security.pam.package}/lib/security/pam_env.so";
        settings = {
          conffile = "/dev/null";
          envfile = "/run/pgha/environment";
          readenv = 1;
        };
      };
    };
  };
}
