"""Groups of commands that do something also without the name of a command."""

from typing import Any

from typer.core import TyperGroup


class ListedByDefault(TyperGroup):
    """Without a command it lists. The options that all commands share may stand in front."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        takes_value = {name: not getattr(option, "is_flag", False) for option in self.params for name in option.opts}
        at = 0
        while at < len(args) and (name := args[at].partition("=")[0]) in takes_value:
            at += 1 + (takes_value[name] and "=" not in args[at])
        if at >= len(args) or (args[at].startswith("-") and args[at] not in ctx.help_option_names):
            args = [*args[:at], "list", *args[at:]]
        return super().parse_args(ctx, args)


class ShownByDefault(TyperGroup):
    """What is no command is what is to be shown."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # Where another word is behind it, it is the name of a command with a typo, and that is to be said.
        is_alone = not args[0].startswith("-") and all(arg.startswith("-") for arg in args[1:2])
        is_shown = args[0] not in self.commands and is_alone
        return super().resolve_command(ctx, ["show", *args] if is_shown else args)
