# etcd: the cluster's consensus.
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
  options.services.pgha.etcd.package = lib.mkPackageOption pkgs "etcd_3_5" {
    extraDescription = ''
      Members of one cluster run the same minor release; going from 3.5 to 3.6 is a rolling replacement of images.
    '';
  };

  config = lib.mkIf (cfg.enable && cfg.role == "etcd") {
    services.pgha = {
      placeholders.etcd = lib.getExe' cfg.etcd.package "etcd";
      components.etcd = cfg.etcd.package;
    };

    # etcdctl; its endpoints and certificates come with the identity's environment.
    environment.systemPackages = [ cfg.etcd.package ];
  };
}
