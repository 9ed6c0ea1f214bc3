# pgBackRest: the repository on backup nodes, and the server on PostgreSQL nodes that the repository talks to.
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
  options.services.pgha.pgbackrest.package = lib.mkPackageOption pkgs "pgbackrest" {
    extraDescription = "Both ends of a connection have to run the same version, so backup and PostgreSQL images go together.";
  };

  config =
    lib.mkIf
      (
        cfg.enable
        && lib.elem cfg.role [
          "backup"
          "postgres"
        ]
      )
      {
        services.pgha = {
          # PostgreSQL's archive_command and Patroni's restore name it without a path.
          path = [
            cfg.pgbackrest.package
            # With S3, the schedule's unit asks Patroni who leads.
            pkgs.curl
          ];
          placeholders = {
            pgbackrest = lib.getExe cfg.pgbackrest.package;
          }
          # A proof of a restore starts PostgreSQL on the backup host: with every extension that the data may need.
          // lib.optionalAttrs (cfg.role == "backup") {
            pgbindir = "${
              cfg.postgresql.package.withPackages (
                available: map (name: available.${name}) cfg.postgresql.extensions
              )
            }/bin";
          };
          components.pgbackrest = cfg.pgbackrest.package;
        };

        environment.systemPackages = [ cfg.pgbackrest.package ];
      };
}
