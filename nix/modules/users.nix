# The users of the payload's sysusers.d, with the same ids: a data disk moves between images of either builder.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.pgha;

  # tests/nix compares these with images/node/all/lib/sysusers.d/pgha.conf.
  users = {
    postgres = {
      uid = 960;
      description = "PostgreSQL and Patroni";
      home = "/var/lib/pgha/postgresql";
      shell = pkgs.bashInteractive;
    };
    etcd = {
      uid = 961;
      description = "etcd";
      home = "/var/lib/pgha/etcd";
    };
    haproxy = {
      uid = 962;
      description = "HAProxy";
    };
    pgbackrest = {
      uid = 963;
      description = "pgBackRest repository";
      home = "/var/lib/pgha/pgbackrest";
      shell = pkgs.bashInteractive;
    };
    chrony = {
      uid = 964;
      description = "chrony";
      home = "/var/lib/pgha/chrony";
    };
  };
in
{
  config = lib.mkIf cfg.enable {
    users.users = lib.mapAttrs (
      name: user:
      user
      // {
        # NixOS' own modules give some of these other ids.
        uid = lib.mkForce user.uid;
        isSystemUser = true;
        group = name;
      }
    ) users;

    users.groups = lib.mapAttrs (_: user: { gid = lib.mkForce user.uid; }) users;
  };
}
