# PostgreSQL under Patroni, and pgBackRest beside it.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (lib) mkOption types;

  cfg = config.services.pgha;
  inherit (cfg) postgresql;

  unknown = lib.filter (name: !(postgresql.package.pkgs ? ${name})) postgresql.extensions;
  server = postgresql.package.withPackages (
    available: map (name: available.${name}) (lib.subtractLists unknown postgresql.extensions)
  );
in
{
  options.services.pgha = {
    postgresql = {
      package = lib.mkPackageOption pkgs "postgresql_17" {
        extraDescription = ''
          A data directory belongs to one major version: another one here needs pg_upgrade, not a new image.
        '';
      };

      extensions = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [
          "pg_cron"
          "pgvector"
        ];
        description = ''
          Extensions to have beside PostgreSQL's own, by their names in nixpkgs' `postgresql17Packages`. Every
          PostgreSQL node needs the same ones, or a failover ends in a leader that cannot run the cluster's functions.
          Those to be preloaded are named in hosts.yml as well.
        '';
      };
    };

    patroni.package = mkOption {
      type = types.package;
      default = pkgs.callPackage ../packages/patroni.nix { };
      defaultText = lib.literalExpression "pgha.packages.\${system}.patroni_4_1_5";
      description = "The Patroni to run: 4.1.5 by default, built from nixpkgs' recipe.";
    };
  };

  config = lib.mkMerge [
    # A backup node proves its backups: it starts PostgreSQL on a restored one, so it has the same extensions.
    (lib.mkIf
      (
        cfg.enable
        && lib.elem cfg.role [
          "backup"
          "postgres"
        ]
      )
      {
        assertions = [
          {
            assertion = unknown == [ ];
            message = ''
              services.pgha.postgresql.extensions: nixpkgs has no extension
              ${
                lib.concatMapStringsSep ", " (name: ''"${name}"'') unknown
              } for PostgreSQL ${lib.versions.major postgresql.package.version}.
            '';
          }
        ];

        services.pgha = {
          path = [ server ];
          placeholders.pgbindir = "${server}/bin";
          components.postgresql = postgresql.package;
        };

        environment.systemPackages = [ server ];
      }
    )

    (lib.mkIf (cfg.enable && cfg.role == "postgres") {
      assertions = [
        {
          assertion = lib.versionAtLeast cfg.patroni.package.version "4.1.4";
          message = ''
            services.pgha.patroni.package: Patroni ${cfg.patroni.package.version} is older than 4.1.4: such a leader
            can take etcd's own change of leader for an error and give up although failsafe mode is on.
          '';
        }
      ];

      services.pgha = {
        placeholders.patroni = lib.getExe cfg.patroni.package;
        components.patroni = cfg.patroni.package;
      };

      environment = {
        etc."sysctl.d/60-pgha-postgres.conf".source = "${cfg.payload}/lib/sysctl.d/60-pgha-postgres.conf";
        systemPackages = [ cfg.patroni.package ];
      };
    })
  ];
}
