# A watchdog for Patroni: a leader that no longer runs is reset before another node can be promoted.
{ config, lib, ... }:

let
  inherit (lib) mkOption types;

  cfg = config.services.pgha;
  held = lib.filter (value: value != null) [
    (config.systemd.settings.Manager.RuntimeWatchdogSec or null)
    (config.systemd.settings.Manager.WatchdogDevice or null)
  ];
in
{
  options.services.pgha.watchdog = {
    enable = mkOption {
      type = types.bool;
      default = cfg.role == "postgres";
      defaultText = lib.literalExpression ''config.services.pgha.role == "postgres"'';
      description = ''
        Whether to load a watchdog driver and to give its device to the user that Patroni runs as. Whether Patroni
        requires it is the identity's to say.
      '';
    };

    module = mkOption {
      type = types.str;
      default = "softdog";
      example = "i6300esb";
      description = ''
        Kernel module of the watchdog. `softdog` is a timer of the kernel, so a kernel that hangs as a whole defeats
        it: name the module of a hardware watchdog (`iTCO_wdt`, `i6300esb` in QEMU) where there is one.
      '';
    };
  };

  config = lib.mkIf (cfg.enable && cfg.watchdog.enable) {
    assertions = [
      {
        assertion = held == [ ];
        message = ''
          services.pgha.watchdog: a watchdog device opens once, and systemd is told to hold it
          (systemd.settings.Manager: ${lib.concatMapStringsSep ", " toString held}). Patroni has to.
        '';
      }
    ];

    boot.kernelModules = [ cfg.watchdog.module ];

    # 60-pgha-watchdog.rules: the device is owned by postgres.
    services.udev.packages = [ cfg.payload ];
  };
}
