# The node itself: its role, the payload shared with the Debian images, and /etc/pgha.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (lib) mkOption types;

  cfg = config.services.pgha;

  # The image contract (images/node/README.md). The components are the ones that this role runs.
  contract = {
    contract = 1;
    inherit (cfg) role;
    builder = "nix";
    build_id = builtins.hashString "sha256" (
      lib.concatMapStringsSep "\n" (package: builtins.unsafeDiscardStringContext (toString package)) (
        [ cfg.payload ] ++ lib.attrValues cfg.components
      )
    );
    inherit (pkgs.stdenv.hostPlatform) system;
    components = lib.mapAttrs (_: lib.getVersion) cfg.components;
  };
in
{
  options.services.pgha = {
    enable = lib.mkEnableOption ''
      this machine as a node of a PostgreSQL high-availability cluster.

      What makes it one particular host (name, addresses, firewall, keys, the services' configuration) is its
      identity, which `pgha-orch render` makes and which is handed over at boot. Nothing of it is set here, so the
      same configuration serves every host of a role. The node takes over the machine's network, firewall,
      clock and SSH daemon
    '';

    role = mkOption {
      type = types.enum [
        "etcd"
        "postgres"
        "haproxy"
        "backup"
      ];
      example = "postgres";
      description = ''
        What the node does: `etcd` keeps the cluster's consensus, `postgres` runs PostgreSQL under Patroni, `haproxy`
        sends clients to the leader (5000) and the replicas (5001), `backup` holds the pgBackRest repository.
        An identity made for another role is refused at boot.
      '';
    };

    path = mkOption {
      type = types.listOf types.package;
      internal = true;
      description = "Packages on the PATH of the payload's scripts and of the services that start programs.";
    };

    placeholders = mkOption {
      type = types.attrsOf types.str;
      internal = true;
      description = ''
        Values for the `@placeholders@` of the payload, by name. One that the role's files name and that has no
        value fails the payload's build.
      '';
    };

    components = mkOption {
      type = types.attrsOf types.package;
      internal = true;
      description = "The packages whose versions `/etc/pgha/image.json` tells, by the names used there.";
    };

    dropIns = mkOption {
      type = types.attrsOf types.lines;
      default = { };
      internal = true;
      description = ''
        What a unit of the payload needs on NixOS only, by unit name. Plain drop-ins, because
        `systemd.services.<name>` would also replace the PATH that the payload's unit sets.
      '';
    };

    payload = mkOption {
      type = types.package;
      internal = true;
      readOnly = true;
      description = "The role's units, scripts, tmpfiles and sysctl files from images/node, placeholders filled in.";
    };
  };

  config = lib.mkIf cfg.enable {
    services.pgha = {
      payload = pkgs.callPackage ../packages/payload.nix {
        inherit (cfg) dropIns placeholders role;
      };

      path = [
        pkgs.bash
        pkgs.coreutils
        pkgs.diffutils
        pkgs.e2fsprogs
        pkgs.findutils
        pkgs.gnugrep
        pkgs.gnused
        pkgs.gnutar
        pkgs.hostname-debian
        pkgs.util-linux
        config.systemd.package
      ];

      placeholders = {
        bash = lib.getExe pkgs.bash;
        libexec = "${placeholder "out"}/lib/pgha";
        path = lib.makeBinPath cfg.path;
      };
    };

    environment.etc = {
      # How a machine driver hands over a new identity, whatever built the image.
      "pgha/identity-load".source = "${cfg.payload}/lib/pgha/identity-load";
      "pgha/image.json".text = builtins.toJSON contract;
      "pgha/role".text = "${cfg.role}\n";
      "sysctl.d/60-pgha.conf".source = "${cfg.payload}/lib/sysctl.d/60-pgha.conf";
    };

    systemd = {
      packages = [ cfg.payload ];
      tmpfiles.packages = [ cfg.payload ];

      # NixOS does not read the [Install] sections of packaged units.
      targets.pgha.wantedBy = [ "multi-user.target" ];
    };
  };
}
