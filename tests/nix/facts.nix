# What the tests look at in one evaluated image, as JSON.
{ flake, image }:

let
  inherit (flake.nixosConfigurations.${image}) config options pkgs;
  inherit (pkgs) lib;
  cfg = config.services.pgha;

  described = option: {
    name = lib.showOption option.loc;
    type = option.type.name;
    description = option.description.text or (option.description or "");
  };
in
{
  inherit (cfg) dropIns placeholders role;
  assertions = map (one: one.message) (lib.filter (one: !one.assertion) config.assertions);
  etc = lib.mapAttrs (_: file: toString file.source) (
    lib.filterAttrs (_: file: file.enable) config.environment.etc
  );
  image = builtins.fromJSON config.environment.etc."pgha/image.json".text;
  kernelModules = config.boot.kernelModules;
  firewall = config.networking.firewall.enable || config.networking.nftables.enable;
  mounts = lib.mapAttrs (_: fs: fs.fsType) config.fileSystems;
  nix = config.nix.enable;
  switch = config.system.switch.enable;
  mutableUsers = config.users.mutableUsers;
  forbidden = config.system.forbiddenDependenciesRegexes;
  passwords = lib.attrNames (
    lib.filterAttrs (
      _: user:
      user.password != null
      || user.hashedPasswordFile != null
      || !(lib.elem (user.hashedPassword or null) [
        null
        "!"
      ])
    ) config.users.users
  );
  keys = lib.concatMap (user: user.openssh.authorizedKeys.keys) (lib.attrValues config.users.users);
  services = lib.attrNames config.systemd.services;
  targets = lib.attrNames config.systemd.targets;
  packaged = lib.elem cfg.payload config.systemd.packages;
  udev = lib.elem cfg.payload config.services.udev.packages;
  watchdogManager = lib.filterAttrs (name: _: lib.hasInfix "Watchdog" name) (
    config.systemd.settings.Manager or { }
  );
  users = lib.mapAttrs (_: user: {
    inherit (user) group uid;
    gid = config.users.groups.${user.group}.gid;
  }) (lib.getAttrs [ "chrony" "etcd" "haproxy" "pgbackrest" "postgres" ] config.users.users);
  options = map described (lib.collect lib.isOption options.services.pgha);
}
