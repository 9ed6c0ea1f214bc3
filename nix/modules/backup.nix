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
          path = [
            # PostgreSQL's archive_command and Patroni's restore name it without a path.
            cfg.pgbackrest.package
            # With S3, the schedule's unit asks Patroni who leads.
            pkgs.curl
          ];
          placeholders.pgbackrest = lib.getExe cfg.pgbackrest.package;
          components.pgbackrest = cfg.pgbackrest.package;
        };

        # Root's `pgbackrest` becomes the user whose repository it is. Services use the program itself.
        environment.systemPackages = [
          (pkgs.runCommandLocal "pgha-pgbackrest" { } ''
            mkdir -p "$out/bin"
            ln -s ${cfg.payload}/lib/pgha/pgbackrest-as-owner "$out/bin/pgbackrest"
          '')
        ];
      };
}
