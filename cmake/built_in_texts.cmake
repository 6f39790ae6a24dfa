# narae_built_in_texts(ROOM NAME...): makes data/ROOM/NAME.txt part of the room's library, as src/ROOM/built_in_texts.h declares it.
function(narae_built_in_texts room)
    set(texts "")
    foreach(name IN LISTS ARGN)
        set(file ${CMAKE_SOURCE_DIR}/data/${room}/${name}.txt)
        set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
        file(READ ${file} text)
        string(APPEND texts "    {\"${name}\", R\"narae_text(${text})narae_text\"},\n")
    endforeach()
    set(source ${CMAKE_CURRENT_BINARY_DIR}/built_in_texts_${room}.cpp)
    file(CONFIGURE OUTPUT ${source} @ONLY CONTENT
"#include \"${room}/built_in_texts.h\"

namespace narae::${room} {

const std::array<BuiltInText, kBuiltInTextCount> kBuiltInTexts = {{
@texts@}};

}  // namespace narae::${room}
")
    target_sources(narae_${room}_objects PRIVATE ${source})
endfunction()
