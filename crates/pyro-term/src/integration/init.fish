functions --copy fish_prompt __pyro_fish_prompt
function fish_prompt
    printf '\033]133;A\007'
    __pyro_fish_prompt
    printf '\033]133;B\007'
end
function __pyro_preexec --on-event fish_preexec
    printf '\033]133;C\007'
end
function __pyro_postexec --on-event fish_postexec
    printf '\033]133;D;%s\007' $status
end
