# Format "nspawn": a root file system in a directory, which `pgha-orch` boots under systemd-nspawn with
# --volatile=overlay. The root below the overlay is never written.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:

let
  inherit (config.system.build) toplevel;
in
{
  config = lib.mkMerge [
    {
      boot.isContainer = true;

      # The identity brings the names of all machines.
      networking.useHostResolvConf = false;

      system.build.image =
        pkgs.runCommand "${config.system.image.id}-nspawn"
          {
            closure = pkgs.closureInfo { rootPaths = [ toplevel ]; };
            # The copied store is the machine's, not the builder's: what it refers to is in it.
            __structuredAttrs = true;
            unsafeDiscardReferences.out = true;
          }
          ''
            mkdir -p "$out"/{dev,etc/pgha,nix/store,proc,root,run,sbin,sys,tmp,usr,var/lib/pgha}
            xargs cp -a -t "$out/nix/store" < "$closure/store-paths"
            ln -s ${toplevel}/init "$out/sbin/init"
            # systemd-nspawn wants to know an operating system when it sees one, and pgha-orch an image of its own.
            cp ${config.environment.etc.os-release.source} "$out/etc/os-release"
            cp ${config.environment.etc."pgha/image.json".source} "$out/etc/pgha/image.json"
            cp ${config.environment.etc."pgha/role".source} "$out/etc/pgha/role"
          '';
    }

    (lib.optionalAttrs (options ? formatAttr) {
      formatAttr = "image";
      fileExtension = "";
    })
  ];
}
